// How a dataset is fetched by a program: lines that can be pasted as they are.

export interface Fetched {
  /** `http://127.0.0.1:7117`. */
  origin: string
  id: string
  name: string
  mediaType: string | null
  /** Undefined: whichever is the newest. */
  revision: number | undefined
}

export const LANGUAGES = ['curl', 'python', 'opendmp'] as const
export type Language = (typeof LANGUAGES)[number]

/** For a shell: quoted, whatever is in it. */
export const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`

/** The name as a file in the present folder. */
const fileOf = (name: string): string => name.slice(name.lastIndexOf('/') + 1) || 'dataset'

const urlOf = ({ origin, id, revision }: Fetched): string =>
  `${origin}/api/v1/datasets/${encodeURIComponent(id)}/content${revision === undefined ? '' : `?revision=${revision}`}`

/** What reads such bytes in Python, with what must be imported for it. */
function reader(mediaType: string | null, name: string): { imports: string; line: string } {
  if (mediaType === 'text/csv' || name.endsWith('.csv')) return { imports: 'import pandas\n', line: 'table = pandas.read_csv(answer)' }
  if (mediaType?.includes('parquet') || name.endsWith('.parquet')) {
    return { imports: 'import io\nimport pandas\n', line: 'table = pandas.read_parquet(io.BytesIO(answer.read()))' }
  }
  if (mediaType === 'application/json' || name.endsWith('.json')) return { imports: 'import json\n', line: 'data = json.load(answer)' }
  if (mediaType?.startsWith('text/')) return { imports: '', line: 'text = answer.read().decode()' }
  return { imports: '', line: 'data = answer.read()' }
}

/** A string literal of Python; JSON's escapes are all Python's, too. */
const python = (text: string): string => JSON.stringify(text)

export function snippet(language: Language, fetched: Fetched): string {
  const { id, name, mediaType, revision } = fetched
  switch (language) {
    case 'curl':
      return [
        'curl --fail --location \\',
        '  --header "Authorization: Bearer $OPENDMP_TOKEN" \\',
        `  --output ${quoted(fileOf(name))} \\`,
        `  ${quoted(urlOf(fetched))}`,
      ].join('\n')
    case 'python': {
      const { imports, line } = reader(mediaType, name)
      const modules = `${imports}import os\nimport urllib.request`.split('\n').sort().join('\n')
      return `${modules}

request = urllib.request.Request(
    ${python(urlOf(fetched))},
    headers={"Authorization": "Bearer " + os.environ["OPENDMP_TOKEN"]},
)
with urllib.request.urlopen(request) as answer:
    ${line}`
    }
    case 'opendmp':
      return `opendmp datasets get ${id}${revision === undefined ? '' : ` --revision ${revision}`} --output ${quoted(fileOf(name))}`
  }
}

// Flows to begin with, as text. Each runs as it stands, once something is dropped into its inbox.

export interface Template {
  name: string
  summary: string
  text: string
}

export const STARTER_CODE = `def process(data: bytes) -> bytes:
    """Called for every item that arrives; what it gives back goes on."""
    return data.upper()
`

/** A script between a folder and a collection. */
export function scriptFlow(options: { name: string; collection: string; code: string; language: string; pattern?: string | undefined }): string {
  const quoted = (value: string) => (/^[A-Za-z][A-Za-z0-9 _-]*$/.test(value) && !/^(true|false|null|yes|no|on|off)$/i.test(value) ? value : JSON.stringify(value))
  const code = options.code.replace(/\r\n/g, '\n').replace(/\s+$/, '')
  const body = code
    .split('\n')
    .map((line) => (line === '' ? '' : `      ${line}`))
    .join('\n')
  return `name: ${quoted(options.name)}
processors:
  - id: inbox
    type: ingest
    phase: 1
    source: { type: file_drop, path: ./inbox${options.pattern ? `, pattern: ${JSON.stringify(options.pattern)}` : ''} }

  - id: script
    type: script
    phase: 2
    inputs: [inbox]
    language: ${options.language}
    code: |${/^\s/.test(code) ? '2' : ''}
${body}

  - id: shelf
    type: collect
    phase: 3
    inputs: [script]
    collection: ${quoted(options.collection)}
`
}

export const TEMPLATES: Template[] = [
  {
    name: 'Table per file',
    summary: 'Every CSV that is dropped is cleaned by a script and written to a folder.',
    text: `name: Table per file
description: Every CSV that is dropped is cleaned and written to a folder.
processors:
  - id: inbox
    type: ingest
    phase: 1
    source: { type: file_drop, path: ./inbox, pattern: "*.csv" }

  - id: clean
    type: script
    phase: 2
    inputs: [inbox]
    language: python
    code: |
      import csv, io

      def process(text: str) -> str:
          rows = [row for row in csv.DictReader(io.StringIO(text)) if all(row.values())]
          out = io.StringIO()
          if rows:
              table = csv.DictWriter(out, fieldnames=rows[0].keys(), lineterminator="\\n")
              table.writeheader()
              table.writerows(rows)
          return out.getvalue()
    timeout: 1m

  - id: shelf
    type: collect
    phase: 3
    inputs: [clean]
    collection: Clean tables
    destination: { type: folder, path: ./outbox, name: "{stem}.clean.csv" }
`,
  },
  {
    name: 'Sort by kind',
    summary: 'Items go different ways by a condition on their name, size or attributes.',
    text: `name: Sort by kind
description: Tables, pictures and the rest each go to a collection of their own.
processors:
  - id: inbox
    type: ingest
    phase: 1
    source: { type: file_drop, path: ./inbox }

  - id: kind
    type: route
    phase: 2
    inputs: [inbox]
    routes:
      - { port: tables, when: 'name.endsWith(".csv")' }
      - { port: pictures, when: 'name.endsWith(".png") || name.endsWith(".jpg")' }

  - id: tables
    type: collect
    phase: 3
    inputs: [kind.tables]
    collection: Tables

  - id: pictures
    type: collect
    phase: 3
    inputs: [kind.pictures]
    collection: Pictures

  - id: rest
    type: collect
    phase: 3
    inputs: [kind.otherwise]
    collection: Everything else
`,
  },
  {
    name: 'Command line',
    summary: 'A command that you know from the shell runs on every item.',
    text: `name: Command line
description: A command runs on every file that is dropped.
processors:
  - id: inbox
    type: ingest
    phase: 1
    source: { type: file_drop, path: ./inbox, pattern: "*.txt" }

  - id: sort
    type: external
    phase: 2
    inputs: [inbox]
    command: [sort, -u]
    timeout: 1m

  - id: shelf
    type: collect
    phase: 3
    inputs: [sort]
    collection: Sorted
    destination: { type: folder, path: ./outbox }
`,
  },
  {
    name: 'Empty',
    summary: 'Nothing but a name.',
    text: `name: New flow
processors: []
`,
  },
]

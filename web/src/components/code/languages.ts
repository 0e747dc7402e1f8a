// Languages by name, each fetched when it is first shown.
import type { Extension } from '@codemirror/state'

export type Language = 'python' | 'clojure' | 'sql' | 'json' | 'yaml' | 'shell' | 'text'

export async function languageSupport(language: Language): Promise<Extension> {
  switch (language) {
    case 'python':
      return (await import('@codemirror/lang-python')).python()
    case 'clojure':
      return (await import('@nextjournal/lang-clojure')).clojure()
    case 'sql':
      return (await import('@codemirror/lang-sql')).sql()
    case 'json':
      return (await import('@codemirror/lang-json')).json()
    case 'yaml':
      return (await import('@codemirror/lang-yaml')).yaml()
    case 'shell': {
      const [{ StreamLanguage }, { shell }] = await Promise.all([import('@codemirror/language'), import('@codemirror/legacy-modes/mode/shell')])
      return StreamLanguage.define(shell)
    }
    case 'text':
      return []
  }
}

/** What a file is written in, by its name or media type. */
export function languageOf(name: string, mediaType?: string | null): Language {
  const ext = /\.([a-z0-9]+)$/i.exec(name)?.[1]?.toLowerCase()
  const byExt: Record<string, Language> = {
    py: 'python', clj: 'clojure', cljs: 'clojure', edn: 'clojure', sql: 'sql', json: 'json', ndjson: 'json', geojson: 'json',
    yaml: 'yaml', yml: 'yaml', sh: 'shell', bash: 'shell',
  }
  if (ext && byExt[ext]) return byExt[ext]
  if (mediaType && /json/.test(mediaType)) return 'json'
  if (mediaType && /yaml/.test(mediaType)) return 'yaml'
  return 'text'
}

// JSON as a tree that is opened node by node. Numbers stay as they are written, since JavaScript would round those
// beyond 2^53; text that breaks off is shown as far as it goes. The reading is jsonc-parser's, which keeps places.

import { type Node, type ParseError, parseTree, printParseErrorCode } from 'jsonc-parser'

/** A tree, perhaps only its beginning. */
export interface JsonTree {
  readonly root: JsonNode | null
  /** What is wrong, in words with the line; null where nothing is. */
  readonly problem: string | null
}

/** A value. */
export interface JsonNode {
  /** Its key in an object, its position in an array, null for the root. */
  readonly key: string | number | null
  readonly type: 'object' | 'array' | 'string' | 'number' | 'boolean' | 'null'
  /** As it is shown: strings decoded, numbers as written, nothing for objects and arrays. */
  readonly text: string
  /** How many values are in it. */
  readonly size: number
  /** The values in it, made when asked for. */
  readonly children: () => readonly JsonNode[]
}

const none: readonly JsonNode[] = []

function nodeOf(node: Node, key: string | number | null, text: string): JsonNode {
  if (node.type === 'object' || node.type === 'array') {
    const inner = (node.children ?? []).filter((child) => child.type !== 'property' || child.children?.[1])
    const children = (): JsonNode[] =>
      inner.flatMap((child, at) => {
        if (child.type !== 'property') return [nodeOf(child, at, text)]
        const [name, value] = child.children ?? []
        return name && value ? [nodeOf(value, String(name.value), text)] : []
      })
    return { key, type: node.type, text: '', size: inner.length, children }
  }
  const written = text.slice(node.offset, node.offset + node.length)
  const shown = node.type === 'string' ? String(node.value) : written
  return { key, type: node.type as JsonNode['type'], text: shown, size: 0, children: () => none }
}

/** What is in an object or array in one line, of about `most` characters: `id: 7, tags: […], name: "a"`. */
export function summary(node: JsonNode, most = 100): string {
  let line = ''
  for (const child of node.children()) {
    if (line.length > most) return `${line}, …`
    const value = child.type === 'object' ? '{…}' : child.type === 'array' ? '[…]' : child.type === 'string' ? `"${shorten(child.text)}"` : child.text
    line += `${line === '' ? '' : ', '}${node.type === 'object' ? `${child.key}: ` : ''}${value}`
  }
  return line
}

const shorten = (text: string): string => (text.length > 24 ? `${text.slice(0, 24)}…` : text).replace(/\s+/g, ' ')

/** The line of a place in a text, from 1. */
function lineOf(text: string, offset: number): number {
  let line = 1
  for (let at = text.indexOf('\n'); at !== -1 && at < offset; at = text.indexOf('\n', at + 1)) line += 1
  return line
}

/** Reads a document. `cut` says that the text goes on, so that its breaking off is no error. */
export function readJson(text: string, cut: boolean): JsonTree {
  const errors: ParseError[] = []
  let root: Node | undefined
  try {
    root = parseTree(text, errors, { disallowComments: true, allowTrailingComma: false, allowEmptyContent: false })
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    return { root: null, problem: 'it is nested too deeply to be shown as a tree' }
  }
  // Where the text was cut, the parser complains of what breaks off there and of each bracket that is still open.
  const first = errors.find((error) => !cut || error.offset + error.length < text.length)
  const problem = first ? `${words(first)} on line ${lineOf(text, first.offset)}` : null
  return { root: root ? nodeOf(root, null, text) : null, problem }
}

function words(error: ParseError): string {
  const code = printParseErrorCode(error.error)
  const spaced = code.replace(/([a-z])([A-Z])/g, '$1 $2').toLowerCase()
  return spaced.endsWith('expected') ? `${spaced.replace(/ expected$/, '')} expected` : spaced
}

/** Reads one document a line; the lines become the values of one array. At most `most` lines. */
export function readJsonLines(text: string, cut: boolean, most: number): JsonTree & { readonly more: boolean } {
  const lines = text.split('\n')
  if (cut) lines.pop()
  const written = lines.flatMap((line, at) => (line.trim() === '' ? [] : [{ line, number: at + 1 }]))
  const shown = written.slice(0, most)
  let problem: string | null = null
  const nodes = shown.map(({ line, number }, at): JsonNode => {
    const read = readJson(line, false)
    if (read.problem !== null || read.root === null) {
      problem ??= `line ${number} is not JSON`
      return { key: at, type: 'string', text: line, size: 0, children: () => none }
    }
    return { ...read.root, key: at }
  })
  const root: JsonNode = { key: null, type: 'array', text: '', size: nodes.length, children: () => nodes }
  return { root, problem, more: cut || written.length > shown.length }
}

/** A row of the tree as it stands on the screen. */
export interface TreeRow {
  /** Where it is: the positions from the root, joined by dots; the root is empty. */
  readonly id: string
  readonly node: JsonNode | null
  readonly level: number
  readonly open: boolean
  /** How many values were not yet made rows, for a row that asks for more; 0 for values. */
  readonly rest: number
  /** Position among its siblings, from 1, and their number. */
  readonly position: number
  readonly siblings: number
}

/** Values of one array or object that are shown before a person asks for more. */
export const FIRST_CHILDREN = 100

/** The rows that are to be seen: those below open nodes. `shown` says how many values of a node, where not the first. */
export function treeRows(
  root: JsonNode,
  open: ReadonlySet<string>,
  shown: ReadonlyMap<string, number>,
): readonly TreeRow[] {
  const rows: TreeRow[] = []
  const add = (node: JsonNode, id: string, level: number, position: number, siblings: number): void => {
    const isOpen = node.size > 0 && open.has(id)
    rows.push({ id, node, level, open: isOpen, rest: 0, position, siblings })
    if (!isOpen) return
    const children = node.children()
    const count = Math.min(children.length, shown.get(id) ?? FIRST_CHILDREN)
    for (let at = 0; at < count; at += 1) {
      const child = children[at]
      if (child) add(child, id === '' ? `${at}` : `${id}.${at}`, level + 1, at + 1, children.length)
    }
    const rest = children.length - count
    if (rest > 0) {
      const more = `${id === '' ? '' : `${id}.`}more`
      rows.push({ id: more, node: null, level: level + 1, open: false, rest, position: count + 1, siblings: count + 1 })
    }
  }
  add(root, '', 1, 1, 1)
  return rows
}

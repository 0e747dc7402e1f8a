// Edits of a flow as text. The text is the truth: every edit of the canvas or a form changes the YAML document, and is then
// carried into the text as it was written, so that comments, order and the layout of untouched lines stay.
import { isMap, isScalar, isSeq, parseDocument, Scalar, stringify, type Document, type Node, type ParsedNode, type YAMLMap, type YAMLSeq } from 'yaml'
import { merge } from './merge'

type Doc = Document.Parsed<ParsedNode>

const WRITE = { lineWidth: 0, flowCollectionPadding: true } as const

/** A mistake in the YAML itself, with its place in UTF-16 units. */
export interface Broken {
  message: string
  from: number
  to: number
  line: number
}

export class BrokenText extends Error {}

export function parse(text: string): { doc: Doc; broken: Broken | undefined } {
  const doc = parseDocument(text, { keepSourceTokens: false, prettyErrors: true })
  const first = doc.errors[0]
  const broken = first && {
    message: first.message.split('\n')[0]?.replace(/ at line \d+, column \d+:?$/, '') ?? 'the YAML is broken',
    from: first.pos[0],
    to: first.pos[1],
    line: first.linePos?.[0].line ?? 1,
  }
  return { doc, broken }
}

/** The text after `change` of its document. Throws `BrokenText` where the YAML cannot be read. */
export function edit(text: string, change: (doc: Doc) => void): string {
  const { doc, broken } = parse(text)
  if (broken) throw new BrokenText(`line ${broken.line}: ${broken.message}`)
  const options = { ...WRITE, indentSeq: indentsSequences(text) }
  const before = doc.toString(options)
  change(doc)
  const after = doc.toString(options)
  if (before === after) return text
  const wanted = doc.toJS()
  // Brackets as people write them, `[inbox]`, which the library does only together with `{a: b}`. In a line of code that
  // looks alike it would change what is said; then, as where lines cannot be told apart, the next way is taken. The
  // document as the library writes it is right in any case.
  for (const tidy of [(line: string) => line.replace(/\[ ([^[\]]*) \]/g, '[$1]'), (line: string) => line]) {
    const merged = merge(before.split('\n').map(tidy), text.split('\n'), after.split('\n').map(tidy)).join('\n')
    const check = parseDocument(merged)
    if (check.errors.length === 0 && same(check.toJS(), wanted)) return merged
  }
  return after
}

/** Whether `- ` of `processors` stands further in than the key. */
function indentsSequences(text: string): boolean {
  const found = /^(\w+):[^\n]*\n(?:[ \t]*(?:#[^\n]*)?\n)*( *)- /m.exec(text)
  return found ? (found[2]?.length ?? 0) > 0 : true
}

export function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a) !== Array.isArray(b)) return false
  const left = Object.keys(a)
  const right = Object.keys(b)
  if (left.length !== right.length) return false
  return left.every((key) => key in b && same((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]))
}

function processors(doc: Doc): YAMLSeq<Node> {
  const found = doc.get('processors', true) as Node | undefined
  if (isSeq(found)) return found as YAMLSeq<Node>
  const seq = doc.createNode([]) as YAMLSeq<Node>
  if (doc.contents === null) doc.contents = doc.createNode({}) as unknown as ParsedNode
  doc.set('processors', seq)
  return seq
}

function find(doc: Doc, id: string): YAMLMap {
  const found = processors(doc).items.find((item) => isMap(item) && item.get('id') === id)
  if (!isMap(found)) throw new Error(`there is no processor \`${id}\``)
  return found
}

/** What is written in braces or brackets on one line: short and flat. */
function fitsLine(value: unknown): boolean {
  if (Array.isArray(value)) return value.length <= 8 && value.every((one) => typeof one !== 'object') && JSON.stringify(value).length <= 90
  if (typeof value !== 'object' || value === null) return false
  const entries = Object.values(value)
  return entries.length <= 5 && entries.every((one) => typeof one !== 'object' || one === null) && JSON.stringify(value).length <= 100
}

/** A value as a node, in the manner people write flows. */
function node(doc: Doc, value: unknown, key = ''): Node {
  if (typeof value === 'string') {
    const scalar = doc.createNode(value) as Scalar
    if (value.includes('\n') || ((key === 'code' || key === 'shell') && value.length > 60)) scalar.type = Scalar.BLOCK_LITERAL
    return scalar
  }
  if (typeof value !== 'object' || value === null) return doc.createNode(value) as Node
  const made = doc.createNode(Array.isArray(value) ? [] : {}) as YAMLMap | YAMLSeq
  if (Array.isArray(value)) for (const one of value) (made as YAMLSeq).add(node(doc, one))
  else for (const [name, one] of Object.entries(value)) if (one !== undefined) (made as YAMLMap).set(name, node(doc, one, name))
  const multiline = JSON.stringify(value).includes('\\n')
  if (key !== '' && fitsLine(value) && !multiline) made.flow = true
  return made
}

/** Sets what differs between the node at `key` of `parent` and `value`, as deep down as it goes. */
function put(doc: Doc, parent: YAMLMap | YAMLSeq, key: string | number, value: unknown) {
  const now = parent.get(key as never, true) as Node | undefined
  if (isScalar(now) && (typeof value !== 'object' || value === null)) {
    if (now.value === value) return
    // Quotes that only the value before needed go with it (`"5"` on the way to `5s`).
    if (typeof now.value === 'string' && now.type?.startsWith('QUOTE') && stringify(now.value).startsWith('"')) delete now.type
    now.value = value
    if (typeof value === 'string' && value.includes('\n')) now.type = Scalar.BLOCK_LITERAL
    else if (typeof value === 'string' && now.type === Scalar.BLOCK_LITERAL && String(key) !== 'code') delete now.type
    // How a number was written (`0x10`) does not hold for another one.
    delete (now as { source?: string }).source
    return
  }
  if (isMap(now) && typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const wanted = value as Record<string, unknown>
    for (const pair of [...now.items]) {
      const name = String(isScalar(pair.key) ? pair.key.value : pair.key)
      if (wanted[name] === undefined) now.delete(pair.key)
    }
    for (const [name, one] of Object.entries(wanted)) if (one !== undefined) put(doc, now, name, one)
    return
  }
  if (isSeq(now) && Array.isArray(value)) {
    while (now.items.length > value.length) now.delete(now.items.length - 1)
    value.forEach((one, at) => {
      if (at < now.items.length) put(doc, now, at, one)
      else now.add(node(doc, one))
    })
    return
  }
  const fresh = node(doc, value, String(key))
  if (now?.comment) fresh.comment = now.comment
  parent.set(key as never, fresh)
}

/** Sets fields of the flow itself; `undefined` takes one away. */
export const setFlow = (text: string, fields: Record<string, unknown>): string =>
  edit(text, (doc) => {
    if (!isMap(doc.contents)) doc.contents = doc.createNode({}) as unknown as ParsedNode
    const map = doc.contents as unknown as YAMLMap
    for (const [key, value] of Object.entries(fields)) {
      if (value === undefined) map.delete(key)
      else put(doc, map, key, value)
    }
  })

/** Sets fields of a processor; `undefined` takes one away. */
export const setFields = (text: string, id: string, fields: Record<string, unknown>): string =>
  edit(text, (doc) => {
    const map = find(doc, id)
    for (const [key, value] of Object.entries(fields)) {
      if (value === undefined) map.delete(key)
      else put(doc, map, key, value)
    }
  })

/** Adds processors, before `before` or at the end. */
export const addProcessors = (text: string, added: Record<string, unknown>[], before?: string): string =>
  edit(text, (doc) => {
    const seq = processors(doc)
    // An empty list is written `[]`, in which blocks could not stand.
    seq.flow = false
    let at = before === undefined ? -1 : seq.items.findIndex((item) => isMap(item) && item.get('id') === before)
    if (at < 0) at = seq.items.length
    const spaced = seq.items.slice(1).some((item) => item.spaceBefore)
    const made = added.map((one, index) => {
      const map = node(doc, one)
      if ((spaced || seq.items.length < 2) && at + index > 0) map.spaceBefore = true
      return map
    })
    const next = seq.items[at]
    if (next && spaced) next.spaceBefore = true
    seq.items.splice(at, 0, ...made)
  })

/** Takes processors away, and out of the inputs of others. */
export const removeProcessors = (text: string, ids: readonly string[]): string =>
  edit(text, (doc) => {
    const seq = processors(doc)
    const gone = new Set(ids)
    seq.items = seq.items.filter((item) => !(isMap(item) && gone.has(String(item.get('id')))))
    for (const item of seq.items) {
      if (isMap(item)) changeInputs(doc, item, (inputs) => inputs.filter((input) => !gone.has(input.split('.')[0] ?? '')))
    }
  })

/** Gives a processor another id, also where others read it. */
export const renameProcessor = (text: string, id: string, to: string): string =>
  edit(text, (doc) => {
    put(doc, find(doc, id), 'id', to)
    for (const item of processors(doc).items) {
      if (!isMap(item)) continue
      changeInputs(doc, item, (inputs) => inputs.map((input) => (input === id ? to : input.startsWith(`${id}.`) ? to + input.slice(id.length) : input)))
    }
  })

/** `clean` or `split.bad`. */
export const inputRef = (from: string, port: string): string => (port === 'out' ? from : `${from}.${port}`)

export const connect = (text: string, from: string, port: string, to: string): string =>
  edit(text, (doc) => {
    const ref = inputRef(from, port)
    changeInputs(doc, find(doc, to), (inputs) => (inputs.includes(ref) ? inputs : [...inputs, ref]))
  })

export const disconnect = (text: string, edges: readonly { from: string; port: string; to: string }[]): string =>
  edit(text, (doc) => {
    for (const { from, port, to } of edges) {
      const refs = new Set([inputRef(from, port), ...(port === 'out' ? [`${from}.out`] : [])])
      changeInputs(doc, find(doc, to), (inputs) => inputs.filter((input) => !refs.has(input)))
    }
  })

/** Puts a processor into a phase, and before another one in the document's order; `null`: at the end of all. */
export const moveProcessor = (text: string, id: string, phase: number | string, before?: string | null): string =>
  edit(text, (doc) => {
    const map = find(doc, id)
    if (map.get('phase') !== phase) {
      if (map.has('phase')) put(doc, map, 'phase', phase)
      else insertAfter(doc, map, ['type', 'id'], 'phase', phase)
    }
    if (before === undefined) return
    const seq = processors(doc)
    const from = seq.items.indexOf(map)
    const found = before === null ? seq.items.length : seq.items.findIndex((item) => isMap(item) && item.get('id') === before)
    if (found < 0 || found === from || found === from + 1) return
    const spaced = seq.items.slice(1).some((item) => item.spaceBefore)
    seq.items.splice(from, 1)
    seq.items.splice(found > from ? found - 1 : found, 0, map)
    seq.items.forEach((item, at) => {
      item.spaceBefore = spaced && at > 0
    })
  })

function insertAfter(doc: Doc, map: YAMLMap, after: string[], key: string, value: unknown) {
  map.set(key, node(doc, value, key))
  const pair = map.items.pop()
  if (!pair) return
  const names = map.items.map((one) => String(isScalar(one.key) ? one.key.value : one.key))
  const at = Math.max(...after.map((name) => names.indexOf(name)))
  map.items.splice(at + 1, 0, pair)
}

function changeInputs(doc: Doc, map: YAMLMap, change: (inputs: string[]) => string[]) {
  const now = map.get('inputs', true) as Node | undefined
  const list = isSeq(now) ? now.items.map((one) => String(isScalar(one) ? one.value : one)) : isScalar(now) && now.value !== null ? [String(now.value)] : []
  const next = change(list)
  if (same(list, next)) return
  if (next.length === 0) {
    map.delete('inputs')
    return
  }
  if (isSeq(now)) put(doc, map, 'inputs', next)
  else if (isScalar(now) && next.length === 1) put(doc, map, 'inputs', next[0])
  else if (now) put(doc, map, 'inputs', next)
  else insertAfter(doc, map, ['id', 'type', 'phase', 'description'], 'inputs', next)
}

/** The line (from 1) at which the text of a processor's field begins that is written as a block; `undefined` where it is not. */
export function blockLineOf(text: string, id: string, path: readonly (string | number)[]): number | undefined {
  const { doc } = parse(text)
  try {
    const map = find(doc, id)
    const found = map.getIn(path, true) as Node | undefined
    if (!isScalar(found) || found.type !== Scalar.BLOCK_LITERAL || !found.range) return undefined
    // It begins on the line below its `|`.
    return text.slice(0, found.range[0]).split('\n').length + 1
  } catch {
    return undefined
  }
}

// JSON Schemas of kinds made plain for a form: references put in place, `null` and empty alternatives gone, the schema of
// the chosen kind put where one is chosen by its `type`. Pure.
import type { Kind } from '../api/types'

export interface Schema {
  type?: string | string[]
  title?: string
  description?: string
  properties?: Record<string, Schema>
  required?: string[]
  additionalProperties?: boolean | Schema
  items?: Schema
  enum?: unknown[]
  const?: unknown
  oneOf?: Schema[]
  anyOf?: Schema[]
  allOf?: Schema[]
  $ref?: string
  $defs?: Record<string, Schema>
  default?: unknown
  examples?: unknown[]
  format?: string
  pattern?: string
  minimum?: number
  maximum?: number
  minLength?: number
  maxLength?: number
  minItems?: number
  maxItems?: number
  'x-opendmp-class'?: 'processor' | 'source' | 'destination'
  [key: string]: unknown
}

/** What every processor may say beside its kind's own keys. As the server's `flow` schema has it; the parts people set. */
export const COMMON: Record<string, Schema> = {
  description: { type: 'string', description: 'What the processor is for.' },
  timeout: { type: 'string', format: 'duration', description: 'A call that takes longer than this is stopped, and counts as a failed attempt.', default: '1h' },
  concurrency: { type: 'integer', minimum: 1, maximum: 1024, description: 'How many items are processed at the same time, at most. By default as many as the machine has cores.' },
  on_error: {
    type: 'object',
    description: 'What happens with an item that fails.',
    properties: {
      retries: { type: 'integer', minimum: 0, maximum: 1000, description: 'How often a failed item is tried again before it becomes a dead letter. A rejected item is not tried again.', default: 2 },
      backoff: { type: 'string', format: 'duration', description: 'The wait before the first retry; every further wait is twice as long.', default: '1s' },
      max_backoff: { type: 'string', format: 'duration', description: 'The longest wait between two retries.', default: '5m' },
    },
  },
  checkpoint: { type: 'boolean', description: 'Whether every result is committed at once, rather than together with those of the processors that follow.', default: false },
  memo: {
    oneOf: [
      { const: 'auto', description: 'When a result was dearer to compute than to remember.' },
      { const: 'always', description: 'Every result.' },
      { const: 'never', description: 'None.' },
    ],
    description: 'Whether results are remembered, so that a reprocess does only again what changed.',
    default: 'auto',
  },
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)

/** The schema without what a form has no place for, for what `data` is now. */
export function plain(schema: Schema, data: unknown, kinds: readonly Kind[], root: Schema = schema, depth = 0): Schema {
  if (depth > 24) return {}
  if (schema.$ref) {
    const name = schema.$ref.replace(/^#\/\$defs\//, '')
    const { $ref: _, ...rest } = schema
    return plain({ ...root.$defs?.[name], ...rest }, data, kinds, root, depth + 1)
  }
  if (schema['x-opendmp-class']) return chosen(schema, data, kinds, depth)
  const alternatives = schema.anyOf ?? (schema.oneOf?.every((one) => one.const !== undefined) ? undefined : schema.oneOf)
  if (alternatives) {
    const { anyOf: _a, oneOf: _o, ...rest } = schema
    const real = alternatives.filter((one) => one.type !== 'null')
    const fits = real.find((one) => matches(plain(one, data, kinds, root, depth + 1), data)) ?? real[0] ?? {}
    return plain({ ...fits, ...rest }, data, kinds, root, depth + 1)
  }
  const { $defs: _d, $schema: _s, default: preset, oneOf, type, title: _t, ...kept } = schema
  const out: Schema = { ...kept }
  const single = Array.isArray(type) ? type.filter((one) => one !== 'null')[0] : type
  if (single !== undefined) out.type = single
  if (oneOf) {
    out.type ??= typeof oneOf[0]?.const
    out.oneOf = oneOf.map((one) => ({ const: one.const, title: String(one.const), ...(one.description !== undefined && { description: one.description }) }))
  }
  // Shown as what is there when nothing is said; written only when somebody says it.
  if (preset !== undefined && preset !== null && typeof preset !== 'object') out['x-default'] = preset
  else if (schema.examples?.[0] !== undefined) out['x-example'] = schema.examples[0]
  delete out.examples
  if (schema.properties) {
    const values = isObject(data) ? data : {}
    out.type = 'object'
    out.properties = Object.fromEntries(Object.entries(schema.properties).map(([key, one]) => [key, plain(one, values[key], kinds, root, depth + 1)]))
  }
  if (schema.items) {
    // One schema serves all entries; the first says which of several it is.
    out.items = plain(schema.items, Array.isArray(data) ? data[0] : undefined, kinds, root, depth + 1)
  }
  if (isObject(schema.additionalProperties)) {
    out.additionalProperties = plain(schema.additionalProperties as Schema, undefined, kinds, root, depth + 1)
  }
  return out
}

/** The fields of the source or destination that `type` says, and the choice of it. */
function chosen(schema: Schema, data: unknown, kinds: readonly Kind[], depth: number): Schema {
  const own = kinds.filter((kind) => kind.class === schema['x-opendmp-class'])
  const type = isObject(data) ? data.type : undefined
  const kind = own.find((one) => one.name === type)
  const fields = kind ? plain(kind.schema as Schema, data, kinds, kind.schema as Schema, depth + 1) : { properties: {} as Record<string, Schema> }
  return {
    type: 'object',
    ...(schema.description !== undefined && { description: schema.description }),
    properties: {
      type: {
        type: 'string',
        description: kind?.summary ?? 'What kind it is.',
        oneOf: own.map((one) => ({ const: one.name, title: one.name.replaceAll('_', ' '), description: one.summary })),
      },
      ...fields.properties,
    },
    required: ['type', ...(fields.required ?? [])],
    // What a kind that is not known here says is kept.
    additionalProperties: kind === undefined,
  }
}

function matches(schema: Schema, data: unknown): boolean {
  if (data === undefined || data === null) return false
  const type = Array.isArray(data) ? 'array' : typeof data === 'number' ? 'number' : typeof data
  if (schema.type === 'integer') return type === 'number'
  return schema.type === type
}

/** Changes the `type` of a source or destination: what both kinds know stays. */
export function withType(data: Record<string, unknown>, type: string, cls: 'source' | 'destination', kinds: readonly Kind[]): Record<string, unknown> {
  const kind = kinds.find((one) => one.class === cls && one.name === type)
  const known = (kind?.schema as Schema | undefined)?.properties ?? {}
  return { type, ...Object.fromEntries(Object.entries(data).filter(([key]) => key in known)) }
}

/** Keys that have a place of their own, and are not in the form. */
const ELSEWHERE = new Set(['id', 'type', 'phase', 'inputs', 'code', 'file', 'shell', 'labels'])

export interface Forms {
  /** The kind's own fields. */
  own: Schema
  /** What every processor may say. */
  common: Schema
  /** Keys of the data that no form knows. */
  unknown: string[]
}

/** The forms of a processor as it is written. */
export function formsOf(raw: Record<string, unknown>, kind: Kind | undefined, kinds: readonly Kind[]): Forms {
  const full = kind ? plain(kind.schema as Schema, raw, kinds) : { properties: {} as Record<string, Schema> }
  const own = Object.fromEntries(Object.entries(full.properties ?? {}).filter(([key]) => !ELSEWHERE.has(key) || (key === 'shell' && !isCode(kind, key))))
  const common = plain({ type: 'object', properties: COMMON }, raw, kinds)
  const known = new Set([...ELSEWHERE, ...Object.keys(own), ...Object.keys(COMMON)])
  return {
    own: { type: 'object', properties: own, required: (full.required ?? []).filter((key) => key in own) },
    common,
    unknown: Object.keys(raw).filter((key) => !known.has(key)),
  }
}

function isCode(kind: Kind | undefined, key: string): boolean {
  return ((kind?.schema as Schema | undefined)?.properties?.[key] as Schema | undefined)?.format === 'code'
}

/** The text fields of a kind that are code, each edited as such: `code` of a script, `shell` of an external. */
export function codeFields(kind: Kind | undefined): string[] {
  const properties = (kind?.schema as Schema | undefined)?.properties ?? {}
  return Object.entries(properties)
    .filter(([key, one]) => (one.format === 'code' || key === 'query') && (one.type === 'string' || (Array.isArray(one.type) && one.type.includes('string'))))
    .map(([key]) => key)
}

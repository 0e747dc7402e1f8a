// What a canvas shows of a flow, read from its text alone, so that it is there with every keystroke. What only the server
// knows (ports of kinds of plugins, say) is added from the plan.
import type { Plan } from '../api/types'
import { parse, type Broken } from './text'

export interface Step {
  id: string
  type: string
  description: string | undefined
  /** Index of its lane, from 0. */
  lane: number
  /** As written. */
  phase: number | string | undefined
  inputs: { from: string; port: string }[]
  /** The default one, `out`, first. */
  outputs: string[]
  /** The whole of it as written. */
  raw: Record<string, unknown>
}

export interface Edge {
  id: string
  from: string
  port: string
  to: string
}

export interface FlowModel {
  name: string
  description: string | undefined
  /** Names of the lanes, as far as the flow gives any. */
  phases: string[]
  lanes: number
  steps: Step[]
  edges: Edge[]
}

export const DEFAULT_PORT = 'out'

const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined)

/** The ports of a processor as far as its own text says. */
export function portsOf(raw: Record<string, unknown>): string[] {
  const names = (list: unknown) => (Array.isArray(list) ? list.filter((one): one is string => typeof one === 'string') : [])
  switch (raw.type) {
    case 'collect':
      return []
    case 'route': {
      const routes = Array.isArray(raw.routes) ? (raw.routes as unknown[]) : []
      const ports = routes.map((one) => text((one as { port?: unknown } | null)?.port)).filter((one) => one !== undefined)
      return [...new Set(ports), 'otherwise']
    }
    default:
      return [...new Set([DEFAULT_PORT, ...names(raw.outputs)])]
  }
}

function inputsOf(raw: Record<string, unknown>): Step['inputs'] {
  const list = Array.isArray(raw.inputs) ? raw.inputs : raw.inputs === undefined || raw.inputs === null ? [] : [raw.inputs]
  return list
    .filter((one): one is string => typeof one === 'string' && one !== '')
    .map((ref) => {
      const [from = '', port] = ref.split('.', 2)
      return { from, port: port ?? DEFAULT_PORT }
    })
}

/** The model of a text; `broken` where the YAML itself cannot be read. */
export function readModel(source: string, plan?: Plan): { model: FlowModel | undefined; broken: Broken | undefined } {
  const { doc, broken } = parse(source)
  if (broken) return { model: undefined, broken }
  const flow: unknown = doc.toJS()
  const fields = (typeof flow === 'object' && flow !== null && !Array.isArray(flow) ? flow : {}) as Record<string, unknown>
  const phases = Array.isArray(fields.phases) ? fields.phases.map(String) : []
  const list = Array.isArray(fields.processors) ? fields.processors : []
  const seen = new Set<string>()
  const planned = new Map(plan?.processors.map((one) => [one.id, one]))
  const steps: Step[] = []
  list.forEach((one: unknown, at) => {
    if (typeof one !== 'object' || one === null || Array.isArray(one)) return
    const raw = one as Record<string, unknown>
    // Two of one id are an error that the server tells; both are shown.
    let id = text(raw.id) ?? `#${at + 1}`
    while (seen.has(id)) id += '′'
    seen.add(id)
    const known = planned.get(id)
    const phase = typeof raw.phase === 'number' || typeof raw.phase === 'string' ? raw.phase : undefined
    steps.push({
      id,
      type: text(raw.type) ?? '?',
      description: text(raw.description),
      lane: -1,
      phase,
      inputs: inputsOf(raw),
      outputs: known && known.type === raw.type ? mergePorts(portsOf(raw), known.outputs, raw) : portsOf(raw),
      raw,
    })
  })
  const lanes = placeInLanes(steps, phases)
  const byId = new Set(steps.map((one) => one.id))
  const edges = steps.flatMap((step) =>
    step.inputs
      .filter((input) => byId.has(input.from))
      .map((input) => ({ id: `${input.from}.${input.port}>${step.id}`, from: input.from, port: input.port, to: step.id })),
  )
  const unique = new Map(edges.map((edge) => [edge.id, edge]))
  return {
    model: { name: text(fields.name) ?? '', description: text(fields.description), phases, lanes, steps, edges: [...unique.values()] },
    broken,
  }
}

/** Kinds that this page knows say their ports at once; of others the plan does. */
function mergePorts(own: string[], planned: string[], raw: Record<string, unknown>): string[] {
  const known = ['ingest', 'script', 'external', 'route', 'collect'].includes(String(raw.type))
  return known ? own : planned
}

function placeInLanes(steps: Step[], phases: string[]): number {
  const named = [...phases]
  for (const step of steps) {
    if (typeof step.phase === 'number') step.lane = Math.max(0, Math.trunc(step.phase) - 1)
    else if (typeof step.phase === 'string') {
      if (!named.includes(step.phase)) named.push(step.phase)
      step.lane = named.indexOf(step.phase)
    }
  }
  // Without a phase: right of what it reads. Cycles, which the server refuses, end by the number of rounds.
  const byId = new Map(steps.map((step) => [step.id, step]))
  const loose = steps.filter((step) => step.phase === undefined)
  for (const step of loose) step.lane = 0
  for (let round = 0; round < Math.min(loose.length, 50); round += 1) {
    let moved = false
    for (const step of loose) {
      const lane = Math.max(0, ...step.inputs.map((input) => (byId.get(input.from)?.lane ?? -1) + 1))
      if (lane !== step.lane && lane < 50) {
        step.lane = lane
        moved = true
      }
    }
    if (!moved) break
  }
  return Math.max(named.length, ...steps.map((step) => step.lane + 1), 0)
}

/** What a step says for its lane when a card is put there. */
export const phaseOf = (model: FlowModel, lane: number): number | string => model.phases[lane] ?? lane + 1

/** Whether `from` is reached from `to`, so that an edge between them would close a circle. */
export function reaches(model: FlowModel, start: string, goal: string): boolean {
  const readers = new Map<string, string[]>()
  for (const edge of model.edges) readers.set(edge.from, [...(readers.get(edge.from) ?? []), edge.to])
  const todo = [start]
  const seen = new Set(todo)
  for (let id = todo.pop(); id !== undefined; id = todo.pop()) {
    if (id === goal) return true
    for (const next of readers.get(id) ?? []) {
      if (!seen.has(next)) {
        seen.add(next)
        todo.push(next)
      }
    }
  }
  return false
}

/** Why these two cannot be connected; `undefined` where they can. */
export function refusal(model: FlowModel, from: string, port: string, to: string): string | undefined {
  const source = model.steps.find((step) => step.id === from)
  const target = model.steps.find((step) => step.id === to)
  if (!source || !target) return 'there is no such processor'
  if (from === to) return 'a processor cannot read itself'
  if (target.type === 'ingest') return `${to} is an ingest: it takes from its source, and reads no other processor`
  if (source.type === 'collect') return `${from} is a collect: its results are datasets, which no processor reads`
  if (!source.outputs.includes(port)) return `${from} has no output ${port}`
  if (target.inputs.some((input) => input.from === from && input.port === port)) return `${to} reads this already`
  if (reaches(model, to, from)) return `this would close a circle: ${from} already waits for ${to}`
  return undefined
}

/** An id that is free, made from a wish: `clean`, `clean-2`. */
export function freeId(model: Pick<FlowModel, 'steps'>, wish: string): string {
  const base = wish.toLowerCase().replace(/[^a-z0-9_]+/g, '-').replace(/^-+|-+$/g, '').slice(0, 60) || 'step'
  const taken = new Set(model.steps.map((step) => step.id))
  if (!taken.has(base)) return base
  const stem = base.replace(/-\d+$/, '')
  for (let at = 2; ; at += 1) if (!taken.has(`${stem}-${at}`)) return `${stem}-${at}`
}

/** The identity a flow's name makes, as the server makes it. */
export function slug(name: string): string {
  let out = ''
  for (const c of name) {
    if ([...out].length >= 64) break
    if (/[\p{L}\p{N}\p{Alphabetic}]/u.test(c)) out += [...c.toLowerCase()].filter((one) => /[\p{L}\p{N}\p{Alphabetic}]/u.test(one)).join('')
    else if (out !== '' && !out.endsWith('-')) out += '-'
  }
  return out.replace(/-+$/, '')
}

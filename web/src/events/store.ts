// What the server tells while it works: one event stream for the tab, and a store outside of React, so that a card hears
// only of its own numbers.
import { useSyncExternalStore } from 'react'
import type { FlowState, Trouble } from '../api/types'

export interface ProcessorNumbers {
  in: number
  out: number
  failed: number
  /** Handed back to be tried again. */
  retried: number
  waiting: number
  took_us: number
}

export interface FlowNumbers {
  state: FlowState
  version: string
  outstanding: number
  held: number
  dead_letters: number
  processors: Record<string, ProcessorNumbers>
}

export interface Recent {
  flow: string
  item: string
  name: string
  arrival: number
  size: number
  /** Milliseconds since 1970. */
  at: number
  result: 'collected' | 'unchanged' | 'dead' | 'dropped'
  /** Where it ended. */
  processor: string
  steps: { processor: string; took_us: number }[]
  /** A remark; of a dead letter what was wrong. */
  note?: string | null
}

/** All flows in a snapshot, else those that changed; `null`: gone. */
export interface Facts {
  seq: number
  time: string
  flows: Record<string, FlowNumbers | null>
  recent?: Recent[]
  troubles?: Trouble[] | null
}

/** How the stream is: connecting for the first time, live, or broken with data from `since`. */
export type Stream = { state: 'connecting' | 'live'; since?: undefined } | { state: 'broken'; since: string | undefined }

/** Recent items kept per flow. */
const MOST_RECENT = 200

/** Rates are taken over this many milliseconds. */
const RATE_OVER = 10_000

/** What processors did is kept for so many milliseconds, and drawn in so many steps. */
const KEPT = 120_000
const STEPS = 24
/** What is kept lies so many milliseconds apart, at least. */
const APART = 500

type Hearer = () => void

export class EventStore {
  private flows = new Map<string, FlowNumbers>()
  private recents = new Map<string, Recent[]>()
  private all: Recent[] = []
  private troubleList: Trouble[] = []
  private streamNow: Stream = { state: 'connecting' }
  private lastTime: string | undefined
  private names: string[] = []
  /** What the server's clock is before this one, in milliseconds. */
  private offset = 0
  private readonly hearers = new Map<string, Set<Hearer>>()
  private readonly history = new Map<string, { at: number; done: number }[]>()

  subscribe(key: string, hearer: Hearer): () => void {
    const set = this.hearers.get(key) ?? new Set()
    set.add(hearer)
    this.hearers.set(key, set)
    return () => {
      set.delete(hearer)
      if (set.size === 0 && this.hearers.get(key) === set) this.hearers.delete(key)
    }
  }

  private tell(keys: Iterable<string>) {
    for (const key of keys) for (const hearer of this.hearers.get(key) ?? []) hearer()
  }

  /** Everything anew: flows that are not in it are gone. */
  snapshot(snapshot: Facts) {
    const gone = [...this.flows.keys()].filter((slug) => !(slug in snapshot.flows)).map((slug) => [slug, null] as const)
    this.facts({ ...snapshot, flows: { ...snapshot.flows, ...Object.fromEntries(gone) } })
  }

  facts(facts: Facts) {
    const keys = new Set<string>()
    this.take(facts, keys)
    for (const recent of facts.recent ?? []) {
      const list = this.recents.get(recent.flow) ?? []
      this.recents.set(recent.flow, newest(list, recent))
      this.all = newest(this.all, recent)
      keys.add(`recent:${recent.flow}`)
      keys.add('recent')
    }
    if (facts.troubles) {
      this.troubleList = facts.troubles
      keys.add('troubles')
    }
    this.tell(keys)
  }

  private take(snapshot: Facts, keys: Set<string>) {
    this.lastTime = snapshot.time
    const at = new Date(snapshot.time).getTime()
    this.offset = at - Date.now()
    for (const [slug, numbers] of Object.entries(snapshot.flows)) {
      if (numbers === null) {
        this.flows.delete(slug)
        keys.add(`flow:${slug}`)
        continue
      }
      const before = this.flows.get(slug)
      // What did not change stays the same object, so that nothing is drawn again for it.
      const processors: Record<string, ProcessorNumbers> = {}
      for (const [id, now] of Object.entries(numbers.processors)) {
        const then = before?.processors[id]
        if (then && same(then, now)) {
          processors[id] = then
        } else {
          processors[id] = now
          keys.add(`processor:${slug}/${id}`)
        }
        const key = `${slug}/${id}`
        this.remember(key, at, now.in)
      }
      this.flows.set(slug, { ...numbers, processors })
      keys.add(`flow:${slug}`)
    }
    const names = [...this.flows.keys()]
    if (names.length !== this.names.length || names.some((name, index) => name !== this.names[index])) {
      this.names = names
    }
    keys.add('flows')
  }

  stream(state: 'connecting' | 'live' | 'broken') {
    if (state === this.streamNow.state) return
    this.streamNow = state === 'broken' ? { state, since: this.lastTime } : { state }
    this.tell(['stream'])
  }

  readonly flow = (slug: string): FlowNumbers | undefined => this.flows.get(slug)
  readonly processor = (slug: string, id: string): ProcessorNumbers | undefined => this.flows.get(slug)?.processors[id]
  readonly recent = (slug?: string): Recent[] => (slug === undefined ? this.all : (this.recents.get(slug) ?? NONE))
  readonly troubles = (): Trouble[] => this.troubleList
  readonly streamState = (): Stream => this.streamNow
  readonly slugs = (): string[] => this.names

  private remember(key: string, at: number, done: number) {
    const past = this.history.get(key) ?? []
    this.history.set(key, past)
    // A server that was started again counts anew.
    if (done < (past.at(-1)?.done ?? 0)) past.length = 0
    // The last one before what is kept stays: what came later is counted from it.
    let gone = 0
    while ((past[gone + 1]?.at ?? at) < at - KEPT) gone += 1
    if (gone > 0) past.splice(0, gone)
    // The newest stands for all that was told within the last moment: there are hundreds of processors, each told of often.
    const before = past.at(-2)
    if (before && at - before.at < APART) past.pop()
    past.push({ at, done })
  }

  /** The server's time now, as far as it can be told. */
  now(): number {
    return Date.now() + this.offset
  }

  /** Lets rates fall when nothing is told any more. */
  tick() {
    this.tell(['tick'])
  }

  /** Items that a processor was done with in a second, over the last ten. */
  readonly rate = (slug: string, id: string, now: number = this.now()): number => {
    const past = this.history.get(`${slug}/${id}`) ?? []
    const last = past.at(-1)
    const before = past.findLast((one) => one.at <= now - RATE_OVER)
    const first = before ?? past[0]
    if (!first || !last) return 0
    // Heard of only lately: what is known is spread over at least some seconds, as one item is no rate.
    const over = before ? RATE_OVER : Math.max(now - first.at, RATE_OVER / 2)
    return ((last.done - first.done) * 1000) / over
  }

  /** The same in steps over the last two minutes, the oldest first. */
  steps(slug: string, id: string, now: number = this.now()): number[] {
    const past = this.history.get(`${slug}/${id}`) ?? []
    const start = now - KEPT
    const steps = new Array<number>(STEPS).fill(0)
    for (let at = 1; at < past.length; at += 1) {
      const [before, one] = [past[at - 1], past[at]]
      if (!before || !one || one.at < start) continue
      const step = Math.min(STEPS - 1, Math.floor(((one.at - start) / KEPT) * STEPS))
      steps[step] = (steps[step] ?? 0) + one.done - before.done
    }
    return steps
  }
}

const NONE: Recent[] = []

function newest(list: Recent[], recent: Recent): Recent[] {
  // After a reconnect the same items may be told again.
  if (list.some((one) => one.item === recent.item && one.at === recent.at)) return list
  return [recent, ...list].sort((a, b) => b.at - a.at).slice(0, MOST_RECENT)
}

function same(a: ProcessorNumbers, b: ProcessorNumbers): boolean {
  return a.in === b.in && a.out === b.out && a.failed === b.failed && a.retried === b.retried && a.waiting === b.waiting && a.took_us === b.took_us
}

export const events = new EventStore()

const on = (key: string) => (hearer: Hearer) => events.subscribe(key, hearer)

export const useStream = () => useSyncExternalStore(on('stream'), events.streamState)
export const useTroubles = () => useSyncExternalStore(on('troubles'), events.troubles)
export const useFlowNumbers = (slug: string) => useSyncExternalStore(on(`flow:${slug}`), () => events.flow(slug))
/** A part of them that is a plain value: what shows only that is not drawn again for every item. */
export const useFlowPart = <T extends string | number | undefined>(slug: string, part: (numbers: FlowNumbers | undefined) => T): T =>
  useSyncExternalStore(on(`flow:${slug}`), () => part(events.flow(slug)))
export const useProcessorNumbers = (slug: string, id: string) =>
  useSyncExternalStore(on(`processor:${slug}/${id}`), () => events.processor(slug, id))
export const useRecent = (slug?: string) =>
  useSyncExternalStore(on(slug === undefined ? 'recent' : `recent:${slug}`), () => events.recent(slug))

/** Items in a second; 0 for less than one in twenty. */
export const useRate = (slug: string, ids: readonly string[]) =>
  useSyncExternalStore(on('tick'), () => Math.round(ids.reduce((sum, id) => sum + events.rate(slug, id), 0) * 10) / 10)

/** The steps of the last two minutes as text, so that what is equal is equal. */
export const useSteps = (slug: string, id: string) => useSyncExternalStore(on('tick'), () => events.steps(slug, id).join(','))

/** Open dead letters of all flows, as the stream last told. */
export const useDeadLetters = () =>
  useSyncExternalStore(on('flows'), () =>
    events.slugs().reduce((sum, slug) => sum + (events.flow(slug)?.dead_letters ?? 0), 0),
  )

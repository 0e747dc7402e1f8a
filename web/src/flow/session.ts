// A flow that is being edited: its text and files, one stack of undo, the draft on the server, what the server says of it.
// Canvas, forms and text all read this one state and change it by `apply`. Outside of React; no page is drawn here.
import { Problem, asProblem } from '../api/problem'
import type { Diagnostic, Draft, FileContent, Files, FlowDetail, Plan, Validated } from '../api/types'
import { readStored, writeStored } from '../lib/stored'
import { readModel, type FlowModel } from './model'
import { same, type Broken } from './text'

export interface Content {
  text: string
  files: Files
}

/** What a session needs of the server. */
export interface Server {
  readFlow: (flow: string) => Promise<FlowDetail>
  readDraft: (flow: string) => Promise<Draft>
  writeDraft: (flow: string, draft: Content & { based_on?: string }, etag?: string) => Promise<Draft>
  dropDraft: (flow: string, etag: string) => Promise<void>
  validate: (flow: Content, signal?: AbortSignal) => Promise<Validated>
}

export type Save =
  | { state: 'clean' } // equal to the draft on the server, or to the flow where there is none
  | { state: 'waiting' } // will be saved in a moment
  | { state: 'saving' }
  | { state: 'failed'; problem: Problem } // kept in this browser, tried again with the next edit
  | { state: 'conflict'; theirs: Draft } // somebody else saved meanwhile

export interface SessionState {
  loading: boolean
  loadProblem: Problem | undefined
  content: Content
  /** What the canvas shows: of the text, or where that is broken, of the last one that was not. */
  model: FlowModel
  broken: Broken | undefined
  undo: string | undefined
  redo: string | undefined
  save: Save
  /** The flow as it is enabled or was saved; `undefined` where it is a draft only. */
  flow: FlowDetail | undefined
  draft: { etag: string; changed: string; actor: string; based_on: string | null | undefined } | undefined
  diagnostics: Diagnostic[]
  validated: boolean
  validateProblem: Problem | undefined
  plan: Plan | undefined
}

interface Past extends Content {
  label: string
  at: number
  /** Edits of the same thing in quick succession are one. */
  merge: string | undefined
}

const MOST_PAST = 200
const SAVE_AFTER_MS = 700
const VALIDATE_AFTER_MS = 250
const MERGE_WITHIN_MS = 1500

const EMPTY: FlowModel = { name: '', description: undefined, phases: [], lanes: 0, steps: [], edges: [] }

const storedKey = (flow: string) => `opendmp-draft:${flow}`

export class FlowSession {
  private state: SessionState = {
    loading: true,
    loadProblem: undefined,
    content: { text: '', files: {} },
    model: EMPTY,
    broken: undefined,
    undo: undefined,
    redo: undefined,
    save: { state: 'clean' },
    flow: undefined,
    draft: undefined,
    diagnostics: [],
    validated: false,
    validateProblem: undefined,
    plan: undefined,
  }
  private past: Past[] = []
  private future: Past[] = []
  private readonly hearers = new Set<() => void>()
  private saveTimer: ReturnType<typeof setTimeout> | undefined
  private validateTimer: ReturnType<typeof setTimeout> | undefined
  private validating: AbortController | undefined
  private saving: Promise<void> = Promise.resolve()
  private closed = false

  constructor(
    readonly slug: string,
    private readonly server: Server,
  ) {}

  readonly subscribe = (hearer: () => void): (() => void) => {
    this.hearers.add(hearer)
    return () => this.hearers.delete(hearer)
  }

  readonly get = (): SessionState => this.state

  private set(part: Partial<SessionState>) {
    if (this.closed) return
    this.state = { ...this.state, ...part }
    for (const hearer of this.hearers) hearer()
  }

  /** Reads flow and draft. What an earlier tab could not save is taken up again. */
  async load(): Promise<void> {
    this.set({ loading: true, loadProblem: undefined })
    try {
      const flow = await orNone(this.server.readFlow(this.slug))
      const draft = flow?.flow.draft === false ? undefined : await orNone(this.server.readDraft(this.slug))
      if (!flow && !draft) {
        throw new Problem({ status: 404, code: 'not-found', detail: `there is no flow \`${this.slug}\``, hint: 'it may have been deleted or renamed; the list of flows shows all' })
      }
      const content = draft ? { text: draft.text, files: draft.files } : { text: flow?.text ?? '', files: flow?.files ?? {} }
      this.set({ loading: false, flow, draft: draft && about(draft), save: { state: 'clean' } })
      this.show(content)
      const kept = readKept(this.slug)
      if (kept && !same(kept.content, content)) {
        if (kept.etag === draft?.etag) this.apply('what was typed before', () => kept.content)
        // Somebody saved meanwhile: a conflict, as if it had been noticed at once.
        else if (draft) {
          this.push('what was typed before', undefined)
          this.show(kept.content)
          this.set({ save: { state: 'conflict', theirs: draft } })
        }
      } else forget(this.slug)
    } catch (error) {
      this.set({ loading: false, loadProblem: asProblem(error) })
    }
  }

  /** The enabled version anew, after it was enabled or elsewhere changed. The text that is edited stays. */
  async refreshFlow(): Promise<void> {
    const flow = await orNone(this.server.readFlow(this.slug)).catch(() => this.state.flow)
    this.set({ flow })
  }

  private show(content: Content) {
    const { model, broken } = readModel(content.text, this.state.plan)
    this.set({ content, model: model ?? this.state.model, broken, ...this.stacks() })
    this.validateSoon()
  }

  private stacks() {
    return { undo: this.past.at(-1)?.label, redo: this.future.at(-1)?.label }
  }

  private push(label: string, merge: string | undefined) {
    const last = this.past.at(-1)
    const now = Date.now()
    if (merge !== undefined && last?.merge === merge && now - last.at < MERGE_WITHIN_MS && this.future.length === 0) {
      last.at = now
    } else {
      this.past = [...this.past.slice(1 - MOST_PAST), { ...this.state.content, label, at: now, merge }]
    }
    this.future = []
  }

  /**
   * One edit. `label` says what undo takes back (`connect clean`); edits with the same `merge` in quick succession are one.
   * Throws what `change` throws, and then nothing is changed.
   */
  apply(label: string, change: (content: Content) => Content, merge?: string): void {
    const next = change(this.state.content)
    if (next.text === this.state.content.text && same(next.files, this.state.content.files)) return
    this.push(label, merge)
    this.show(next)
    this.saveSoon()
  }

  /** One edit of the text alone. */
  applyText(label: string, change: (text: string) => string, merge?: string): void {
    this.apply(label, (content) => ({ ...content, text: change(content.text) }), merge)
  }

  setFile(path: string, file: FileContent | undefined, merge?: string): void {
    this.apply(
      `edit ${path}`,
      ({ text, files }) => {
        const { [path]: _, ...rest } = files
        return { text, files: file ? { ...files, [path]: file } : rest }
      },
      merge,
    )
  }

  undo(): void {
    const step = this.past.pop()
    if (!step) return
    this.future.push({ ...step, ...this.state.content })
    this.show({ text: step.text, files: step.files })
    this.saveSoon()
  }

  redo(): void {
    const step = this.future.pop()
    if (!step) return
    this.past.push({ ...step, ...this.state.content, merge: undefined })
    this.show({ text: step.text, files: step.files })
    this.saveSoon()
  }

  private saveSoon() {
    if (this.closed) return
    keep(this.slug, { content: this.state.content, etag: this.state.draft?.etag })
    if (this.state.save.state === 'conflict') return
    this.set({ save: { state: 'waiting' } })
    clearTimeout(this.saveTimer)
    this.saveTimer = setTimeout(() => void this.save(), SAVE_AFTER_MS)
  }

  /** Saves now; one at a time, so that each has the etag of the one before. */
  save(): Promise<void> {
    clearTimeout(this.saveTimer)
    this.saving = this.saving.then(() => this.saveOnce())
    return this.saving
  }

  private async saveOnce() {
    const { save, content, draft, flow } = this.state
    if (save.state === 'clean' || save.state === 'conflict') return
    this.set({ save: { state: 'saving' } })
    try {
      const based = draft?.based_on ?? flow?.flow.version
      const saved = await this.server.writeDraft(this.slug, { ...content, ...(based != null && { based_on: based }) }, draft?.etag)
      this.saved(saved, content)
    } catch (error) {
      const problem = asProblem(error)
      if (problem.status === 412) {
        const theirs = await orNone(this.server.readDraft(this.slug)).catch(() => undefined)
        if (theirs && same({ text: theirs.text, files: theirs.files }, content)) this.saved(theirs, content)
        else if (theirs) this.set({ save: { state: 'conflict', theirs } })
        else {
          // It was dropped, after it was enabled elsewhere perhaps: begun anew.
          this.set({ draft: undefined, save: { state: 'waiting' } })
          await this.saveOnce()
        }
      } else this.set({ save: { state: 'failed', problem } })
    }
  }

  private saved(draft: Draft, content: Content) {
    const newest = same(this.state.content, content)
    this.set({ draft: about(draft), save: newest ? { state: 'clean' } : { state: 'waiting' } })
    if (newest) forget(this.slug)
    else this.saveSoon()
  }

  /** Ends a conflict: with this text over theirs, or with theirs, which undo takes back. */
  async resolve(keepWhich: 'mine' | 'theirs'): Promise<void> {
    const { save } = this.state
    if (save.state !== 'conflict') return
    this.set({ draft: about(save.theirs), save: { state: keepWhich === 'mine' ? 'waiting' : 'clean' } })
    if (keepWhich === 'mine') return this.save()
    this.push('take theirs', undefined)
    this.show({ text: save.theirs.text, files: save.theirs.files })
    forget(this.slug)
  }

  /** Back to the flow as it is enabled; undo takes it back. */
  async discardDraft(): Promise<void> {
    const { flow } = this.state
    if (!flow) return
    clearTimeout(this.saveTimer)
    await this.saving
    const { draft } = this.state
    if (draft) await this.server.dropDraft(this.slug, draft.etag)
    this.push('discard the draft', undefined)
    this.set({ draft: undefined, save: { state: 'clean' } })
    this.show({ text: flow.text, files: flow.files })
    forget(this.slug)
  }

  /** The draft was enabled, and by that dropped on the server. */
  enabled(): void {
    this.set({ draft: undefined, save: { state: 'clean' } })
    forget(this.slug)
  }

  /** Does again what the server could not be reached for. */
  again(): void {
    if (this.state.save.state === 'failed') void this.save()
    if (this.state.validateProblem) this.validateSoon()
  }

  private validateSoon() {
    clearTimeout(this.validateTimer)
    this.validateTimer = setTimeout(() => void this.validate(), VALIDATE_AFTER_MS)
  }

  private async validate() {
    this.validating?.abort()
    const now = new AbortController()
    this.validating = now
    const { content } = this.state
    try {
      const said = await this.server.validate(content, now.signal)
      if (now.signal.aborted || this.state.content !== content) return
      const plan = said.plan ?? this.state.plan
      const { model, broken } = readModel(content.text, plan)
      this.set({
        plan,
        broken,
        ...(model && { model }),
        diagnostics: said.diagnostics,
        validated: true,
        validateProblem: undefined,
      })
    } catch (error) {
      if (!now.signal.aborted) this.set({ validateProblem: asProblem(error) })
    }
  }

  /** Saves what waits, and is silent from then on. */
  async close(): Promise<void> {
    clearTimeout(this.validateTimer)
    this.validating?.abort()
    if (this.state.save.state === 'waiting') await this.save()
    this.closed = true
    this.hearers.clear()
  }
}

const about = (draft: Draft) => ({ etag: draft.etag, changed: draft.changed, actor: draft.actor, based_on: draft.based_on })

async function orNone<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return undefined
    throw error
  }
}

interface Kept {
  content: Content
  etag: string | undefined
}

function keep(slug: string, kept: Kept) {
  writeStored(storedKey(slug), JSON.stringify(kept))
}

const forget = (slug: string) => writeStored(storedKey(slug), undefined)

function readKept(slug: string): Kept | undefined {
  const stored = readStored(storedKey(slug))
  if (stored === undefined) return undefined
  try {
    const kept = JSON.parse(stored) as Partial<Kept>
    return typeof kept.content?.text === 'string' ? { content: { text: kept.content.text, files: kept.content.files ?? {} }, etag: kept.etag } : undefined
  } catch {
    return undefined
  }
}

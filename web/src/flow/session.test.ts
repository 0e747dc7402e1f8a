// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Problem } from '../api/problem'
import type { Draft, FlowDetail } from '../api/types'
import { FlowSession, type Content, type Server } from './session'
import { setFields } from './text'

const FLOW = 'name: A\nprocessors:\n  - id: inbox\n    type: ingest # first\n'

/** A server with one flow, as far as drafts go. */
class Fake implements Server {
  draft: Draft | undefined
  writes: Content[] = []
  down = false
  private etags = 0
  async readFlow(): Promise<FlowDetail> {
    return { flow: { flow: 'a', version: 'v1' } as FlowDetail['flow'], text: FLOW, files: {}, plan: { name: 'A', phases: 1, processors: [], starts: [], order: [] } }
  }
  async readDraft(): Promise<Draft> {
    if (!this.draft) throw new Problem({ status: 404, code: 'not-found' })
    return this.draft
  }
  async writeDraft(flow: string, content: Content, etag?: string, actor = 'me'): Promise<Draft> {
    if (this.down) throw new Problem({ status: 0, code: 'unreachable' })
    if (this.draft?.etag !== etag) throw new Problem({ status: 412, code: 'changed-meanwhile' })
    this.writes.push(content)
    this.etags += 1
    this.draft = { flow, name: 'A', ...content, changed: '2026-11-27T10:00:00.000Z', actor, etag: `e${this.etags}` }
    return this.draft
  }
  async dropDraft() {
    this.draft = undefined
  }
  async validate() {
    return { diagnostics: [] }
  }
}

const typed = (session: FlowSession, path: string) =>
  session.applyText('edit', (text) => setFields(text, 'inbox', { path }), 'path')

describe('a flow that is edited', () => {
  beforeEach(() => {
    vi.useFakeTimers()
    localStorage.clear()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  const begin = async (server = new Fake()) => {
    const session = new FlowSession('a', server)
    await session.load()
    return { server, session }
  }

  it('is saved as a draft a moment after the last edit', async () => {
    const { server, session } = await begin()
    typed(session, './a')
    typed(session, './ab')
    expect(session.get().save.state).toBe('waiting')
    await vi.advanceTimersByTimeAsync(2000)
    expect(server.writes.map((one) => one.text)).toEqual([`${FLOW}    path: ./ab\n`])
    expect(session.get().save.state).toBe('clean')
    expect(session.get().draft?.etag).toBe('e1')
  })

  it('has one stack of undo, in which typing is one step', async () => {
    const { session } = await begin()
    typed(session, './a')
    typed(session, './ab')
    session.setFile('clean.py', { text: 'x' })
    session.undo()
    expect(session.get().content).toEqual({ text: `${FLOW}    path: ./ab\n`, files: {} })
    session.undo()
    expect(session.get().content.text).toBe(FLOW)
    expect(session.get().undo).toBeUndefined()
    session.redo()
    session.redo()
    expect(session.get().content.files).toEqual({ 'clean.py': { text: 'x' } })
    expect(session.get().redo).toBeUndefined()
  })

  it('shows what the canvas had while the text is broken', async () => {
    const { session } = await begin()
    session.applyText('edit', (text) => `${text}  - [`)
    expect(session.get().broken?.line).toBeGreaterThan(3)
    expect(session.get().model.steps.map((step) => step.id)).toEqual(['inbox'])
    expect(() => typed(session, './x')).toThrow()
    expect(session.get().content.text).toBe(`${FLOW}  - [`)
  })

  it('tells of a conflict, and ends it either way', async () => {
    const { server, session } = await begin()
    typed(session, './mine')
    await vi.advanceTimersByTimeAsync(2000)
    const theirs = () => server.writeDraft('a', { text: `${FLOW}# theirs\n`, files: {} }, server.draft?.etag, 'ada')
    await theirs()
    typed(session, './mine too')
    await vi.advanceTimersByTimeAsync(2000)
    expect(session.get().save).toMatchObject({ state: 'conflict', theirs: { actor: 'ada' } })
    await session.resolve('mine')
    expect(server.draft?.text).toContain('./mine too')
    await theirs()
    typed(session, './again')
    await vi.advanceTimersByTimeAsync(2000)
    await session.resolve('theirs')
    expect(session.get().content.text).toBe(`${FLOW}# theirs\n`)
    session.undo()
    expect(session.get().content.text).toContain('./again')
    await vi.advanceTimersByTimeAsync(2000)
    expect(server.draft?.text).toContain('./again')
  })

  it('keeps in the browser what could not be saved, and takes it up again', async () => {
    const { server, session } = await begin()
    server.down = true
    typed(session, './kept')
    await vi.advanceTimersByTimeAsync(2000)
    expect(session.get().save).toMatchObject({ state: 'failed', problem: { code: 'unreachable' } })
    server.down = false
    session.again()
    await vi.advanceTimersByTimeAsync(100)
    expect(server.draft?.text).toContain('./kept')
    server.down = true
    typed(session, './kept later')
    await vi.advanceTimersByTimeAsync(2000)
    await session.close()
    server.down = false
    const { session: later } = await begin(server)
    expect(later.get().content.text).toContain('./kept later')
    await vi.advanceTimersByTimeAsync(2000)
    expect(server.draft?.text).toContain('./kept later')
    expect(localStorage.length).toBe(0)
  })

  it('goes back to the enabled flow, and forth', async () => {
    const { server, session } = await begin()
    typed(session, './a')
    await vi.advanceTimersByTimeAsync(2000)
    await session.discardDraft()
    expect(server.draft).toBeUndefined()
    expect(session.get().content.text).toBe(FLOW)
    session.undo()
    await vi.advanceTimersByTimeAsync(2000)
    expect(server.draft).toMatchObject({ text: `${FLOW}    path: ./a\n` })
  })
})

// The session of the flow page for its parts.
import { createContext, useContext, useEffect, useState, useSyncExternalStore } from 'react'
import { dropDraft, readDraft, readFlow, validate, writeDraft } from '../api/flows'
import { FlowSession, type SessionState } from './session'

const server = { readFlow, readDraft, writeDraft, dropDraft, validate }

const Context = createContext<FlowSession | undefined>(undefined)

export const SessionProvider = Context.Provider

/** A session of this flow, as long as the component is shown. */
export function useOpenSession(slug: string): FlowSession | undefined {
  const [session, setSession] = useState<FlowSession>()
  useEffect(() => {
    const opened = new FlowSession(slug, server)
    setSession(opened)
    void opened.load()
    return () => void opened.close()
  }, [slug])
  return session?.slug === slug ? session : undefined
}

export function useSession(): FlowSession {
  const session = useContext(Context)
  if (!session) throw new Error('no flow is open here')
  return session
}

/** A part of its state; `select` gives what the state itself holds, nothing made anew. */
export function useSessionState<T>(select: (state: SessionState) => T): T {
  const session = useSession()
  return useSyncExternalStore(session.subscribe, () => select(session.get()))
}

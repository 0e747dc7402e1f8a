// The one connection of the tab. The browser reconnects by itself and says what it had last; where it gives up, this
// begins again.
import { unreached } from '../api/client'
import { events, type EventStore, type Facts } from './store'

const FIRST_WAIT = 1000
const LONGEST_WAIT = 30_000
/** How often rates are looked at. */
const TICK = 1000

/** Connects until the returned function is called. */
export function connect(store: EventStore = events, url = '/api/v1/events'): () => void {
  let source: EventSource | undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  let wait = FIRST_WAIT

  const open = () => {
    source = new EventSource(url)
    source.addEventListener('open', () => {
      wait = FIRST_WAIT
      store.stream('live')
    })
    source.addEventListener('snapshot', (event) => store.snapshot(JSON.parse((event as MessageEvent<string>).data) as Facts))
    source.addEventListener('facts', (event) => store.facts(JSON.parse((event as MessageEvent<string>).data) as Facts))
    source.addEventListener('error', () => {
      store.stream('broken')
      // CLOSED: the answer was a refusal, after which the browser does not try again.
      if (source?.readyState === EventSource.CLOSED) {
        timer = setTimeout(open, wait)
        wait = Math.min(wait * 2, LONGEST_WAIT)
      }
    })
  }
  // A proxy in between may keep a stream open whose server is gone: what a request found out holds for the stream, too.
  const off = unreached.hear(() => {
    if (store.streamState().state !== 'live') return
    source?.close()
    store.stream('broken')
    clearTimeout(timer)
    timer = setTimeout(open, wait)
  })
  open()
  const ticks = setInterval(() => store.tick(), TICK)
  return () => {
    clearTimeout(timer)
    clearInterval(ticks)
    off()
    source?.close()
  }
}

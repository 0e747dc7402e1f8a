// Where the page begins: styles with their nonce, theme, the query cache, the event stream, and the router.
import createCache from '@emotion/cache'
import { CacheProvider } from '@emotion/react'
import CssBaseline from '@mui/material/CssBaseline'
import { ThemeProvider } from '@mui/material/styles'
import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { RouterProvider } from '@tanstack/react-router'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { listDrafts, listFlows } from './api/flows'
import { Problem } from './api/problem'
import { connect } from './events/stream'
import './fonts.css'
import { nonce } from './lib/nonce'
import { beginDatasets, PART } from './pages/datasets/data'
import { datasetsQuery } from './pages/datasets/query'
import { router } from './router'
import { theme } from './theme'

const styles = createCache({ key: 'odmp', ...(nonce && { nonce }) })

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 2000,
      // What the server refused, it refuses again; only what may pass is asked again.
      retry: (times, error) => times < 2 && (!(error instanceof Problem) || error.status === 0 || error.status >= 502),
      networkMode: 'always',
    },
    mutations: { networkMode: 'always' },
  },
})

// What the first view needs is on its way while the page is still being put together; where that is soon there, all of it is
// drawn at once.
const PATIENCE_MS = 150
const begun = Promise.race([router.load(), new Promise((go) => setTimeout(go, PATIENCE_MS))])
if (/^\/(flows\/?)?$/.test(location.pathname)) {
  void queries.prefetchQuery({ queryKey: ['flows'], queryFn: ({ signal }) => listFlows(signal) })
  void queries.prefetchQuery({ queryKey: ['drafts'], queryFn: ({ signal }) => listDrafts(signal) })
}

if (/^\/datasets\/?$/.test(location.pathname) && location.search === '') beginDatasets({ ...datasetsQuery({}, Date.now()), limit: PART })

connect()

const draw = (root: HTMLElement) =>
  createRoot(root).render(
    <StrictMode>
      <CacheProvider value={styles}>
        <ThemeProvider theme={theme} defaultMode="system" modeStorageKey="opendmp-mode">
          <CssBaseline />
          <QueryClientProvider client={queries}>
            <RouterProvider router={router} />
          </QueryClientProvider>
        </ThemeProvider>
      </CacheProvider>
    </StrictMode>,
  )

const root = document.getElementById('root')
if (root) void begun.then(() => draw(root), () => draw(root))

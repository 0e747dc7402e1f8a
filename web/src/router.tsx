// Which address shows which page. All filters are search parameters, read by the page's own `search.ts`; pages are fetched
// when they are first shown.
import { createRootRoute, createRoute, createRouter, lazyRouteComponent, redirect, Link } from '@tanstack/react-router'
import { Button } from '@mui/material'
import { EmptyState, ErrorPanel, Skeletons } from './components/states'
import { parseSearch, stringifySearch } from './lib/search'
import { collectionsSearch } from './pages/collections/search'
import { datasetSearch, datasetsSearch } from './pages/datasets/search'
import { lettersSearch } from './pages/deadletters/search'
import { flowSearch, flowsSearch } from './pages/flows/search'
import { runSearch, runsSearch } from './pages/runs/search'
import { Shell } from './shell/Shell'

const root = createRootRoute({ component: Shell })

const index = createRoute({
  getParentRoute: () => root,
  path: '/',
  beforeLoad: () => {
    throw redirect({ to: '/flows' })
  },
})

const flows = createRoute({
  getParentRoute: () => root,
  path: '/flows',
  validateSearch: flowsSearch,
  component: lazyRouteComponent(() => import('./pages/flows/FlowsPage'), 'FlowsPage'),
})

const flow = createRoute({
  getParentRoute: () => root,
  path: '/flows/$flow',
  validateSearch: flowSearch,
  component: lazyRouteComponent(() => import('./pages/flows/FlowPage'), 'FlowPage'),
})

const datasets = createRoute({
  getParentRoute: () => root,
  path: '/datasets',
  validateSearch: datasetsSearch,
  component: lazyRouteComponent(() => import('./pages/datasets/DatasetsPage'), 'DatasetsPage'),
})

const dataset = createRoute({
  getParentRoute: () => root,
  path: '/datasets/$dataset',
  validateSearch: datasetSearch,
  component: lazyRouteComponent(() => import('./pages/datasets/DatasetPage'), 'DatasetPage'),
})

const collections = createRoute({
  getParentRoute: () => root,
  path: '/collections',
  validateSearch: collectionsSearch,
  component: lazyRouteComponent(() => import('./pages/collections/CollectionsPage'), 'CollectionsPage'),
})

const runs = createRoute({
  getParentRoute: () => root,
  path: '/runs',
  validateSearch: runsSearch,
  component: lazyRouteComponent(() => import('./pages/runs/RunsPage'), 'RunsPage'),
})

const run = createRoute({
  getParentRoute: () => root,
  path: '/runs/$run',
  validateSearch: runSearch,
  component: lazyRouteComponent(() => import('./pages/runs/RunPage'), 'RunPage'),
})

const item = createRoute({
  getParentRoute: () => root,
  path: '/items/$item',
  component: lazyRouteComponent(() => import('./pages/runs/ItemPage'), 'ItemPage'),
})

const letters = createRoute({
  getParentRoute: () => root,
  path: '/dead-letters',
  validateSearch: lettersSearch,
  component: lazyRouteComponent(() => import('./pages/deadletters/DeadLettersPage'), 'DeadLettersPage'),
})

const settings = createRoute({
  getParentRoute: () => root,
  path: '/settings',
  component: lazyRouteComponent(() => import('./pages/settings/SettingsPage'), 'SettingsPage'),
})

export const router = createRouter({
  routeTree: root.addChildren([index, flows, flow, datasets, dataset, collections, runs, run, item, letters, settings]),
  parseSearch,
  stringifySearch,
  defaultPreload: 'intent',
  defaultPendingMs: 200,
  // What is there is shown: no skeleton stands longer than it must.
  defaultPendingMinMs: 0,
  defaultPendingComponent: () => <Skeletons lines={8} />,
  defaultErrorComponent: ({ error, reset }) => (
    <ErrorPanel error={error} what="This page broke" affects="Nothing on the server is affected." retry={reset} />
  ),
  defaultNotFoundComponent: () => (
    <EmptyState title="There is no such page" actions={<Button component={Link} to="/flows" variant="outlined">To the flows</Button>}>
      The link may be mistyped, or of another version.
    </EmptyState>
  ),
})

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router
  }
}

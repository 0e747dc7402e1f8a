// Run, as the server lists them.
import { useQuery } from '@tanstack/react-query'
import { get } from '../../api/client'
import { Page } from '../../components/Page'
import { ErrorPanel, Skeletons } from '../../components/states'

export function RunPage() {
  const query = useQuery({ queryKey: ['/runs'], queryFn: ({ signal }) => get<unknown>('/runs', {}, signal) })
  return (
    <Page title="Run">
      {query.isPending ? <Skeletons /> : query.error ? <ErrorPanel error={query.error} what="This could not be fetched" retry={() => void query.refetch()} /> : <pre>{JSON.stringify(query.data, null, 2)}</pre>}
    </Page>
  )
}

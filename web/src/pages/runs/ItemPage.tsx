// One item by its id: what it is, what made it and what took it, and its bytes.
import { useQuery } from '@tanstack/react-query'
import { getRouteApi, useNavigate } from '@tanstack/react-router'
import { Page } from '../../components/Page'
import { ErrorPanel, Skeletons } from '../../components/states'
import { Crumb } from '../datasets/bits'
import { readItem } from '../datasets/data'
import { ItemActions, ItemView } from './ItemPeek'

const route = getRouteApi('/items/$item')

export function ItemPage() {
  const { item: id } = route.useParams()
  const navigate = useNavigate()
  const query = useQuery({ queryKey: ['item', id], queryFn: ({ signal }) => readItem(id, signal) })
  return (
    <Page title={query.data?.name ?? 'Item'} crumbs={<Crumb to="/runs">Runs</Crumb>} actions={query.data && <ItemActions item={query.data} />}>
      {query.data ? (
        <ItemView item={query.data} onItem={(item) => void navigate({ to: '/items/$item', params: { item } })} />
      ) : query.error ? (
        <ErrorPanel error={query.error} what="The item could not be read" retry={() => void query.refetch()} />
      ) : (
        <Skeletons lines={8} />
      )}
    </Page>
  )
}

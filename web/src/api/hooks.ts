// Queries that more than one page asks.
import { useQuery } from '@tanstack/react-query'
import { listKinds } from './flows'

const NONE: never[] = []

/** All kinds of processors, sources and destinations; they change only with the server. */
export function useKinds() {
  const query = useQuery({ queryKey: ['kinds'], queryFn: ({ signal }) => listKinds(signal), staleTime: 10 * 60_000 })
  return { kinds: query.data?.rows ?? NONE, error: query.error, refetch: query.refetch }
}

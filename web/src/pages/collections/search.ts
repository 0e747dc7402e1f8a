// What the address of the collections says.
import { oneOf, type Raw, text } from '../../lib/search'
import { said } from '../datasets/search'

export const SORTS = ['name', '-name', 'datasets', '-datasets', 'bytes', '-bytes', 'changed', '-changed'] as const

export interface CollectionsSearch {
  q?: string
  sort?: (typeof SORTS)[number]
}

export const collectionsSearch = (raw: Raw): CollectionsSearch =>
  said<CollectionsSearch>({ q: text(raw, 'q'), sort: oneOf(raw, 'sort', SORTS) })

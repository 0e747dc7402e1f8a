// What the address of the dead letters says: which groups, which of them is open, and which letter.
import { flag, type Raw, text, whole } from '../../lib/search'
import { said } from '../datasets/search'

export interface LettersSearch {
  q?: string
  flow?: string
  group?: string
  letter?: string
  run?: number
  /** Those that were retried or discarded, too. */
  ended?: boolean
}

export const lettersSearch = (raw: Raw): LettersSearch =>
  said<LettersSearch>({
    q: text(raw, 'q'),
    flow: text(raw, 'flow'),
    group: text(raw, 'group'),
    letter: text(raw, 'letter'),
    run: whole(raw, 'run'),
    ended: flag(raw, 'ended'),
  })

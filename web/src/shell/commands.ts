// Commands: what can be done here, by the palette and by keys. A page registers its own while it is shown.
import { useEffect, useRef, useSyncExternalStore } from 'react'
import { readStored } from '../lib/stored'

export interface Command {
  id: string
  label: string
  /** What it is listed under: `Go to`, `Flow`. */
  group: string
  /** `Mod+K`, `g f`, `?`; Mod is Ctrl, or Command on a Mac. */
  keys?: string
  /** Further words that find it. */
  words?: string
  /** Works also while something is typed. Only for keys with Mod. */
  inFields?: boolean
  /** Has keys, but is not listed in the palette. */
  hidden?: boolean
  run: () => void
}

export const LETTERS = 'opendmp-letter-keys'

let lists: { commands: Command[] }[] = []
let all: Command[] = []
const hearers = new Set<() => void>()

function changed() {
  // Later registrations win, so that what was opened last has the keys.
  const seen = new Set<string>()
  all = lists
    .toReversed()
    .flatMap((list) => list.commands)
    .filter((command) => !seen.has(command.id) && seen.add(command.id))
  for (const hearer of hearers) hearer()
}

/** Registers commands as long as the component is shown. What they do may change; their list is compared by ids. */
export function useCommands(commands: Command[]) {
  const latest = useRef(commands)
  useEffect(() => {
    latest.current = commands
  })
  const shape = commands.map((one) => `${one.id}\u0000${one.label}\u0000${one.keys ?? ''}`).join('\u0001')
  useEffect(() => {
    const list = {
      commands: latest.current.map((command, index) => ({ ...command, run: () => latest.current[index]?.run() })),
    }
    lists = [...lists, list]
    changed()
    return () => {
      lists = lists.filter((one) => one !== list)
      changed()
    }
  }, [shape])
}

export const useAllCommands = () =>
  useSyncExternalStore(
    (hearer) => {
      hearers.add(hearer)
      return () => hearers.delete(hearer)
    },
    () => all,
  )

const mac = typeof navigator !== 'undefined' && /mac|iphone|ipad/i.test(navigator.platform)

/** Keys as people read them: `Ctrl K`, `g f`. */
export function keyNames(keys: string): string[] {
  return keys.split(/[+ ]/).map((key) => (key === 'Mod' ? (mac ? '⌘' : 'Ctrl') : key === 'Enter' ? '↵' : key))
}

/** The pressed key in the words of `Command.keys`. */
export function pressed(event: KeyboardEvent): string {
  const key = event.key.length === 1 && (event.ctrlKey || event.metaKey) ? event.key.toUpperCase() : event.key
  const mod = mac ? event.metaKey : event.ctrlKey
  // A shifted sign is the sign itself (`?`); Shift counts with Mod and with named keys.
  const shift = event.shiftKey && (mod || event.key.length > 1)
  return [mod && 'Mod', event.altKey && 'Alt', shift && 'Shift', key].filter(Boolean).join('+')
}

function isField(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || target.closest('.cm-editor') !== null
}

const SEQUENCE_MS = 1200
let prefix = ''
let prefixAt = 0

/** Runs what a key is for; true if something was. */
export function handleKey(event: KeyboardEvent): boolean {
  if (event.defaultPrevented || event.isComposing) return false
  const key = pressed(event)
  const plain = !key.startsWith('Mod+')
  const field = isField(event.target)
  if (plain && (field || readStored(LETTERS) === 'off')) return false
  // While a dialog is open, only its own keys work.
  if (document.querySelector('[role="dialog"][aria-modal="true"], .MuiDialog-root') && key !== 'Mod+K') return false
  const before = prefix !== '' && event.timeStamp - prefixAt < SEQUENCE_MS ? `${prefix} ` : ''
  prefix = ''
  const found = all.find((one) => one.keys === before + key) ?? all.find((one) => one.keys === key)
  if (found) {
    if (field && !found.inFields) return false
    event.preventDefault()
    found.run()
    return true
  }
  if (plain && all.some((one) => one.keys?.startsWith(`${key} `))) {
    prefix = key
    prefixAt = event.timeStamp
  }
  return false
}

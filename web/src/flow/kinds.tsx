// What kinds look like: a picture by what they do, a colour by their lane.
import CallSplit from '@mui/icons-material/CallSplit'
import Code from '@mui/icons-material/Code'
import Compress from '@mui/icons-material/FolderZipOutlined'
import Extension from '@mui/icons-material/ExtensionOutlined'
import Filter from '@mui/icons-material/FilterAltOutlined'
import Folder from '@mui/icons-material/DriveFolderUploadOutlined'
import Inventory from '@mui/icons-material/Inventory2Outlined'
import Merge from '@mui/icons-material/CallMerge'
import Storage from '@mui/icons-material/StorageOutlined'
import Terminal from '@mui/icons-material/Terminal'
import type { SvgIconProps } from '@mui/material'
import type { ComponentType } from 'react'
import { parse } from 'yaml'
import type { Kind } from '../api/types'
import type { Step } from './model'
import { STARTER_CODE } from './templates'

const ICONS: Record<string, ComponentType<SvgIconProps>> = {
  ingest: Folder, script: Code, external: Terminal, route: CallSplit, filter: Filter, split: CallSplit, aggregate: Merge, join: Merge,
  compress: Compress, decompress: Compress, collect: Inventory, sql: Storage, plugin: Extension,
}

export function KindIcon({ type, ...props }: { type: string } & SvgIconProps) {
  const Icon = ICONS[type] ?? Extension
  return <Icon {...props} />
}

/** What a card says below its name: `script · python`, `ingest · file_drop`. */
export function subtitle(step: Pick<Step, 'type' | 'raw'>): string {
  const { raw, type } = step
  const nested = (key: string) => (raw[key] as { type?: unknown } | null | undefined)?.type
  const more = type === 'script' ? (raw.language ?? 'python') : type === 'ingest' ? nested('source') : type === 'collect' ? raw.collection : type === 'external' ? commandOf(raw) : (raw.format ?? raw.as)
  return typeof more === 'string' && more !== '' ? `${type} · ${more}` : type
}

function commandOf(raw: Record<string, unknown>): string | undefined {
  if (Array.isArray(raw.command)) return raw.command.slice(0, 2).map(String).join(' ')
  return typeof raw.shell === 'string' ? raw.shell.split('\n')[0] : undefined
}

/** A processor of a kind to begin with: as its first example has it, without what ties it to its neighbours. */
export function beginning(kind: Kind): Record<string, unknown> {
  let example: unknown
  try {
    example = parse(kind.examples[0] ?? '')
  } catch {
    example = undefined
  }
  const { id: _i, type: _t, inputs: _in, phase: _p, ...fields } = (typeof example === 'object' && example !== null ? example : {}) as Record<string, unknown>
  if (kind.name === 'script') return { language: 'python', code: STARTER_CODE }
  return fields
}

/** What a new processor of a kind is called, before it is given a better name. */
export const wish = (kind: string): string => ({ ingest: 'inbox', collect: 'shelf', script: 'script' })[kind] ?? kind

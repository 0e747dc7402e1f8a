// One item in a drawer: what it is, what made it and what took it, and its bytes; from here it becomes a sample.
import Close from '@mui/icons-material/Close'
import Download from '@mui/icons-material/FileDownloadOutlined'
import Science from '@mui/icons-material/ScienceOutlined'
import { Alert, Box, Button, Drawer, IconButton, Link, Stack, Typography } from '@mui/material'
import { useQuery } from '@tanstack/react-query'
import { Link as To } from '@tanstack/react-router'
import { Bytes } from '../../components/bits'
import { ErrorPanel, Skeletons } from '../../components/states'
import { many } from '../../lib/format'
import { Preview } from '../../preview/Preview'
import { Copied, Fact, Facts, FlowLink, ResultChip } from '../datasets/bits'
import { itemUrl, readItem, save } from '../datasets/data'
import type { ItemInfo } from '../datasets/types'

interface Props {
  /** The item's id; undefined: closed. */
  item: string | undefined
  onClose: () => void
  /** Goes to another item, in the same drawer. */
  onItem: (item: string) => void
}

export function ItemPeek({ item, onClose, onItem }: Props) {
  return (
    <Drawer anchor="right" open={item !== undefined} onClose={onClose} slotProps={{ paper: { role: 'dialog', 'aria-label': 'Item', sx: { width: 'min(760px, 94vw)', display: 'flex' } } }}>
      {item !== undefined && <Peek item={item} onClose={onClose} onItem={onItem} />}
    </Drawer>
  )
}

function Peek({ item, onClose, onItem }: { item: string; onClose: () => void; onItem: (item: string) => void }) {
  const query = useQuery({ queryKey: ['item', item], queryFn: ({ signal }) => readItem(item, signal) })
  return (
    <>
      <Stack direction="row" spacing={1} sx={{ px: 2, minHeight: 52, alignItems: 'center', borderBottom: 1, borderColor: 'divider' }}>
        <Typography variant="h2" noWrap sx={{ minWidth: 0 }}>{query.data?.name ?? 'Item'}</Typography>
        <Box sx={{ flex: 1 }} />
        {query.data && <ItemActions item={query.data} />}
        <IconButton onClick={onClose} aria-label="Close"><Close fontSize="small" /></IconButton>
      </Stack>
      {query.error ? <ErrorPanel error={query.error} what="The item could not be read" retry={() => void query.refetch()} /> : query.data ? <ItemView item={query.data} onItem={onItem} /> : <Skeletons lines={8} />}
    </>
  )
}

/** The processor that takes such an item: the one that read it, else the one that made it. */
export const takerOf = (item: ItemInfo): string => item.read.find((step) => step.processor !== 'retry')?.processor ?? item.made.processor

export function ItemActions({ item }: { item: ItemInfo }) {
  const search = new URLSearchParams({ processor: takerOf(item), sample: `item:${item.id}` })
  return (
    <Stack direction="row" spacing={1}>
      <Button component={To} to={`/flows/${encodeURIComponent(item.flow)}?${search.toString()}`} startIcon={<Science fontSize="small" />}>Use as sample</Button>
      <Button startIcon={<Download fontSize="small" />} onClick={() => save(itemUrl(item.id), item.name)}>Download</Button>
    </Stack>
  )
}

const FROM: Record<string, string> = { stored: 'stored', recent: 'kept for a while', computed: 'computed again' }

export function ItemView({ item, onItem }: { item: ItemInfo; onItem: (item: string) => void }) {
  const attributes = Object.entries(item.attributes ?? {})
  return (
    <Box sx={{ flex: 1, minHeight: 0, display: 'flex', flexDirection: 'column' }}>
      <Facts>
        <Fact label="Id"><Copied value={item.id} what="Id" length={10} /></Fact>
        <Fact label="Size"><Bytes value={item.size} /></Fact>
        <Fact label="Hash"><Copied value={item.hash} what="Hash" /></Fact>
        <Fact label="Flow"><FlowLink flow={item.flow} /></Fact>
        <Fact label="Bytes are">{item.at_hand === null ? 'computed when asked for' : (FROM[item.at_hand] ?? item.at_hand)}</Fact>
      </Facts>
      <Box sx={{ px: 2, py: 1, display: 'grid', gap: 0.75, borderBottom: 1, borderColor: 'divider', fontSize: 13 }}>
        <div>
          Came from <span className="mono">{item.path}</span> <Box component="span" sx={{ color: 'text.secondary' }}>({item.source}, arrival {item.arrival})</Box>
        </div>
        <StepLine words={item.made.result === 'arrived' ? 'Taken in by' : 'Made by'} flow={item.flow} step={item.made} items={item.made.input !== item.id ? [item.made.input] : []} from onItem={onItem} port={item.port} />
        {item.read.map((step, at) => <StepLine key={at} words="Went into" flow={item.flow} step={step} items={step.children.filter((child) => child !== item.id)} onItem={onItem} port={null} />)}
        {item.read.length === 0 && <Box sx={{ color: 'text.secondary' }}>Nothing took it yet.</Box>}
        {attributes.length > 0 && (
          <Box component="details">
            <Box component="summary" sx={{ cursor: 'pointer' }}>{many(attributes.length, 'attribute')}</Box>
            <Box className="mono" sx={{ mt: 0.5, fontSize: 12, wordBreak: 'break-word' }}>
              {attributes.map(([key, value]) => <div key={key}><Box component="span" sx={{ color: 'text.secondary' }}>{key}: </Box>{JSON.stringify(value)}</div>)}
            </Box>
          </Box>
        )}
      </Box>
      {item.at_hand === null && <Alert severity="info" variant="outlined" sx={{ m: 1, py: 0 }}>Its bytes are not kept any more; to show them, its steps are done again.</Alert>}
      <Preview content={{ url: itemUrl(item.id), name: item.name, size: item.size, mediaType: null }} />
    </Box>
  )
}

/** More ids than this are counted, not listed. */
const MOST_LISTED = 8

function StepLine({ words, flow, step, items, from = false, onItem, port }: { words: string; flow: string; step: ItemInfo['made']; items: string[]; from?: boolean; onItem: (item: string) => void; port: string | null }) {
  return (
    <Stack direction="row" spacing={0.75} useFlexGap sx={{ alignItems: 'center', flexWrap: 'wrap' }}>
      <span>{words}</span>
      <FlowLink flow={flow} processor={step.processor} />
      {port !== null && <Box component="span" sx={{ color: 'text.secondary' }}>port {port}</Box>}
      <ResultChip result={step.result} />
      {items.length > 0 && <span>{from ? 'of' : 'gave'}</span>}
      {items.slice(0, MOST_LISTED).map((id) => (
        <Link key={id} component="button" type="button" className="mono" onClick={() => onItem(id)} sx={{ fontSize: 12 }}>{id.slice(0, 10)}</Link>
      ))}
      {items.length > MOST_LISTED && <Box component="span" sx={{ color: 'text.secondary' }}>and {items.length - MOST_LISTED} more</Box>}
      {step.note && <Box component="span" sx={{ color: 'text.secondary' }}>{step.note}</Box>}
    </Stack>
  )
}

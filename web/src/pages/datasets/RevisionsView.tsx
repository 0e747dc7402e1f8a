// The revisions of a dataset, and two of them beside each other.
import { Alert, Box, Button, Link, MenuItem, Stack, TextField } from '@mui/material'
import { useQueries } from '@tanstack/react-query'
import { lazy, Suspense } from 'react'
import type { Dataset } from '../../api/types'
import { Bytes, Short, Time } from '../../components/bits'
import { ErrorPanel, Skeletons } from '../../components/states'
import { bytes as inBytes } from '../../lib/format'
import { partOf } from '../../preview/content'
import { decodeText, sniff } from '../../preview/sniff'
import { Copied, RunLink } from './bits'
import { contentUrl } from './data'
import { ExportFact } from './ExportFact'

const CompareView = lazy(() => import('../../preview/CompareView'))

/** Bytes of each side that are compared on the page. */
const MOST_COMPARED = 2 << 20

interface Props {
  revisions: Dataset[]
  shown: Dataset
  /** The number of the revision that `shown` is compared with. */
  other: number | undefined
  /** Shows a revision, and which one beside it. */
  onPick: (revision: number, other: number | undefined) => void
}

export function RevisionsView({ revisions, shown, other, onPick }: Props) {
  const with_ = revisions.find((one) => one.revision === other && one.revision !== shown.revision)
  if (with_) {
    const [older, newer] = with_.revision < shown.revision ? [with_, shown] : [shown, with_]
    return <Compare older={older} newer={newer} revisions={revisions} shown={shown} other={with_.revision} onPick={onPick} />
  }
  return (
    <Box role="region" aria-label="Revisions" tabIndex={0} sx={{ flex: 1, minHeight: 0, overflow: 'auto' }}>
      <Box
        component="table"
        sx={{
          width: '100%', borderCollapse: 'collapse', fontSize: 13,
          '& th, & td': { textAlign: 'left', px: 2, py: 1, borderBottom: 1, borderColor: 'divider', whiteSpace: 'nowrap' },
          '& thead th': { fontSize: 12, color: 'text.secondary', fontWeight: 600 },
          '& .right': { textAlign: 'right' },
        }}
      >
        <thead>
          <tr>
            <th scope="col">Revision</th><th scope="col">Collected</th><th scope="col" className="right">Size</th><th scope="col">Hash</th>
            <th scope="col">Version of the flow</th><th scope="col">Run</th><th scope="col">Exported</th><th scope="col"><Box component="span" sx={{ position: 'absolute', clipPath: 'inset(50%)' }}>Compare</Box></th>
          </tr>
        </thead>
        <tbody>
          {revisions.toReversed().map((one) => {
            const previous = revisions.find((before) => before.revision === one.revision - 1)
            return (
              <Box component="tr" key={one.revision} sx={(theme) => ({ bgcolor: one.revision === shown.revision ? `color-mix(in srgb, ${theme.vars.palette.primary.main} 8%, transparent)` : undefined })}>
                <Box component="th" scope="row" sx={{ fontWeight: 600 }}>
                  <Link component="button" type="button" onClick={() => onPick(one.revision, undefined)} aria-current={one.revision === shown.revision ? 'true' : undefined}>{one.revision}</Link>
                </Box>
                <td><Time value={one.committed} /></td>
                <td className="right"><Bytes value={one.size} />{previous && <Change from={previous.size} to={one.size} />}</td>
                <td><Copied value={one.hash} what="Hash" /></td>
                <td><Short value={one.version} /></td>
                <td><RunLink run={one.run} /></td>
                <td>{one.gone ? 'bytes let go' : <ExportFact dataset={one} />}</td>
                <td>
                  {previous && (
                    <Button onClick={() => onPick(one.revision, previous.revision)}>Compare with {previous.revision}</Button>
                  )}
                </td>
              </Box>
            )
          })}
        </tbody>
      </Box>
      {revisions.length === 1 && <Box sx={{ p: 2, color: 'text.secondary' }}>There is one revision. When its source changes, or it is reprocessed with another result, the next one comes beside it.</Box>}
    </Box>
  )
}

function Change({ from, to }: { from: number; to: number }) {
  if (from === to) return null
  return <Box component="span" sx={{ ml: 0.75, fontSize: 12, color: 'text.secondary' }}>{to > from ? '+' : '−'}{inBytes(Math.abs(to - from))}</Box>
}

function Compare({ older, newer, revisions, shown, other = 0, onPick }: { older: Dataset; newer: Dataset } & Props) {
  const parts = useQueries({
    queries: [older, newer].map((one) => ({
      queryKey: ['compare', one.id, one.revision],
      queryFn: ({ signal }: { signal: AbortSignal }) =>
        partOf({ url: contentUrl(one.id, one.revision), name: one.name, size: one.size, mediaType: one.media_type ?? null }, 0, Math.min(one.size, MOST_COMPARED), signal),
      staleTime: Infinity,
      retry: false,
    })),
  })
  const pick = (label: string, value: number, set: (revision: number) => void, not: number) => (
    <TextField select label={label} value={value} onChange={(event) => set(Number(event.target.value))} fullWidth={false} sx={{ minWidth: 130 }}>
      {revisions.filter((one) => one.revision !== not).map((one) => <MenuItem key={one.revision} value={one.revision}>Revision {one.revision}</MenuItem>)}
    </TextField>
  )
  return (
    <Box sx={{ flex: 1, minHeight: 0, display: 'flex', flexDirection: 'column' }}>
      <Stack direction="row" spacing={1.5} sx={{ px: 2, py: 1.25, alignItems: 'center', borderBottom: 1, borderColor: 'divider' }}>
        {pick('Shown', shown.revision, (revision) => onPick(revision, other), other)}
        <span>compared with</span>
        {pick('Other', other, (next) => onPick(shown.revision, next), shown.revision)}
        <Box sx={{ flex: 1 }} />
        <Button onClick={() => onPick(shown.revision, undefined)}>Back to the list</Button>
      </Stack>
      <Compared older={older} newer={newer} parts={parts} />
    </Box>
  )
}

interface Part {
  data: Uint8Array<ArrayBuffer> | undefined
  error: unknown
}

function Compared({ older, newer, parts }: { older: Dataset; newer: Dataset; parts: Part[] }) {
  const failed = parts.find((part) => part.error)
  if (failed) return <ErrorPanel error={failed.error} what="The revisions could not be read" />
  const [left, right] = parts.map((part) => part.data)
  if (!left || !right) return <Skeletons lines={8} />
  if (older.hash === newer.hash) return <Alert severity="info" variant="outlined" sx={{ m: 2 }}>They have the same bytes.</Alert>
  const text = (part: Uint8Array<ArrayBuffer>, of: Dataset): string | null => {
    const { encoding } = sniff(part, of.media_type ?? null, of.name, part.length >= of.size)
    return encoding === null ? null : decodeText(part, encoding, part.length >= of.size)
  }
  const [a, b] = [text(left, older), text(right, newer)]
  if (a === null || b === null) {
    return (
      <Alert severity="info" variant="outlined" sx={{ m: 2 }}>
        They are not text, so that their bytes can't be set beside each other here: revision {older.revision} has {inBytes(older.size)}, revision {newer.revision} has {inBytes(newer.size)}, and their hashes differ.
      </Alert>
    )
  }
  const cut = older.size > MOST_COMPARED || newer.size > MOST_COMPARED
  return (
    <>
      {cut && <Alert severity="info" variant="outlined" sx={{ m: 1, py: 0 }}>The first {inBytes(MOST_COMPARED)} of each are compared.</Alert>}
      <Stack direction="row" sx={{ borderBottom: 1, borderColor: 'divider', fontSize: 12, '& > div': { flex: 1, px: 2, py: 0.75 } }}>
        <div>Revision {older.revision} · <Time value={older.committed} /> · <Bytes value={older.size} /></div>
        <div>Revision {newer.revision} · <Time value={newer.committed} /> · <Bytes value={newer.size} /></div>
      </Stack>
      <Suspense fallback={<Skeletons lines={8} />}>
        <CompareView name={older.name} left={{ label: `Revision ${older.revision} of ${older.name}`, text: a }} right={{ label: `Revision ${newer.revision} of ${newer.name}`, text: b }} />
      </Suspense>
    </>
  )
}

// The form for what narrows the listing of datasets.
import { Autocomplete, Box, Button, MenuItem, Stack, TextField } from '@mui/material'
import { useRef, useState, type FormEvent } from 'react'
import { bytes } from '../../lib/format'
import { sizeOf } from './query'
import { EXPORTS, said, type DatasetsSearch } from './search'

const TIMES: readonly [string, string][] = [['', 'any time'], ['1h', 'the last hour'], ['24h', 'the last 24 hours'], ['7d', 'the last 7 days'], ['30d', 'the last 30 days'], ['between', 'between two times']]
const TYPES = ['text/csv', 'text/plain', 'application/json', 'application/vnd.apache.parquet', 'image/', 'application/pdf']

export interface FilterFormProps {
  search: DatasetsSearch
  collections: string[]
  flows: string[]
  onSearch: (search: DatasetsSearch) => void
  onClose: () => void
}

/** A time as `datetime-local` has it, in the zone of the browser. */
function localTime(text: string | undefined): string {
  const time = text === undefined ? Number.NaN : Date.parse(text)
  if (Number.isNaN(time)) return ''
  return new Date(time - new Date(time).getTimezoneOffset() * 60_000).toISOString().slice(0, 16)
}

const moment = (local: string): string | undefined => (local === '' ? undefined : new Date(local).toISOString())

export default function FilterForm({ search, collections, flows, onSearch, onClose }: FilterFormProps) {
  const relative = TIMES.some(([value]) => value === search.since)
  const [collection, setCollection] = useState(search.collection ?? '')
  const [flow, setFlow] = useState(search.flow ?? '')
  const [media, setMedia] = useState(search.media ?? '')
  const [time, setTime] = useState(relative && search.until === undefined ? (search.since ?? '') : search.since || search.until ? 'between' : '')
  const [since, setSince] = useState(localTime(search.since))
  const [until, setUntil] = useState(localTime(search.until))
  const [least, setLeast] = useState(search.min_size === undefined ? '' : bytes(search.min_size))
  const [most, setMost] = useState(search.max_size === undefined ? '' : bytes(search.max_size))
  const [exported, setExported] = useState<string>(search.export ?? '')
  // A size that was not touched stays exact, though it is shown rounded.
  const touched = useRef({ least: false, most: false })
  const wrong = (text: string) => text !== '' && sizeOf(text) === undefined
  const apply = (event: FormEvent) => {
    event.preventDefault()
    if (wrong(least) || wrong(most)) return
    const between = time === 'between'
    onSearch(
      said<DatasetsSearch>({
        q: search.q,
        sort: search.sort,
        run: search.run,
        processor: search.processor,
        collection: collection || undefined,
        flow: flow || undefined,
        media: media || undefined,
        since: between ? moment(since) : time || undefined,
        until: between ? moment(until) : undefined,
        min_size: touched.current.least ? sizeOf(least) : search.min_size,
        max_size: touched.current.most ? sizeOf(most) : search.max_size,
        export: EXPORTS.find((one) => one === exported),
      }),
    )
    onClose()
  }
  const size = (label: string, value: string, set: (value: string) => void, which: 'least' | 'most') => (
    <TextField
      label={label}
      value={value}
      placeholder="1.5 MB"
      error={wrong(value)}
      helperText={wrong(value) ? 'as 500, 20 kB or 1.5 MB' : undefined}
      onChange={(event) => {
        touched.current[which] = true
        set(event.target.value)
      }}
    />
  )
  return (
    <Box component="form" onSubmit={apply} sx={{ p: 2, width: 380, display: 'grid', gap: 1.75 }}>
      <Autocomplete size="small" options={collections} value={collection || null} onChange={(_, value) => setCollection(value ?? '')} renderInput={(params) => <TextField {...params} label="Collection" autoFocus />} />
      <Autocomplete size="small" options={flows} value={flow || null} onChange={(_, value) => setFlow(value ?? '')} renderInput={(params) => <TextField {...params} label="Flow" />} />
      <Autocomplete size="small" freeSolo options={TYPES} inputValue={media} onInputChange={(_, value) => setMedia(value)} renderInput={(params) => <TextField {...params} label="Media type" />} />
      <TextField select label="Collected" value={time} onChange={(event) => setTime(event.target.value)} slotProps={{ inputLabel: { shrink: true }, select: { displayEmpty: true } }}>
        {TIMES.map(([value, words]) => <MenuItem key={value} value={value}>{words}</MenuItem>)}
      </TextField>
      {time === 'between' && (
        <Stack direction="row" spacing={1}>
          <TextField type="datetime-local" label="From" value={since} onChange={(event) => setSince(event.target.value)} slotProps={{ inputLabel: { shrink: true } }} />
          <TextField type="datetime-local" label="To" value={until} onChange={(event) => setUntil(event.target.value)} slotProps={{ inputLabel: { shrink: true } }} />
        </Stack>
      )}
      <Stack direction="row" spacing={1}>
        {size('At least', least, setLeast, 'least')}
        {size('At most', most, setMost, 'most')}
      </Stack>
      <TextField select label="Export" value={exported} onChange={(event) => setExported(event.target.value)} slotProps={{ inputLabel: { shrink: true }, select: { displayEmpty: true } }}>
        <MenuItem value="">any</MenuItem>
        {EXPORTS.map((one) => <MenuItem key={one} value={one}>{one === 'none' ? 'not asked for' : one}</MenuItem>)}
      </TextField>
      <Stack direction="row" spacing={1} sx={{ justifyContent: 'flex-end' }}>
        <Button onClick={onClose}>Cancel</Button>
        <Button type="submit" variant="contained">Apply</Button>
      </Stack>
    </Box>
  )
}

// Content as people can look at it: the view is chosen by what the bytes are, only so much is fetched as is shown, and
// what is not shown is said. What can't be read is told and shown as bytes.
import { Alert, Box, Stack, ToggleButton, ToggleButtonGroup } from '@mui/material'
import { useQuery } from '@tanstack/react-query'
import { useMemo, useState, type ReactNode } from 'react'
import { asProblem } from '../api/problem'
import { CodeEditor, languageOf } from '../components/CodeEditor'
import { ErrorPanel, Skeletons } from '../components/states'
import { bytes as inBytes, count, many } from '../lib/format'
import { type Content, partOf } from './content'
import { HexView } from './HexView'
import { ImageView } from './ImageView'
import { readJson, readJsonLines } from './json'
import { JsonView } from './JsonView'
import { PdfView } from './PdfView'
import { decodeText, sniff, type Shape, type Sniffed } from './sniff'
import { numericColumns, readTable } from './table'
import { TableView } from './TableView'

/** Rows of a table that are shown. */
const ROWS = 100
/** Enough to know what bytes are, and all that hexadecimal shows. */
const HEAD = 64 << 10
/** Bytes that are read of what is shown in part. */
const PART = 1 << 20
/** JSON up to this size is read whole, so that its tree is whole. */
const JSON_WHOLE = 4 << 20
/** Bytes of what can only be shown whole. */
const IMAGE_WHOLE = 32 << 20
const PDF_WHOLE = 64 << 20
/** Compressed bytes read of a Parquet file. */
const PARQUET_BUDGET = 16 << 20

type View = 'table' | 'tree' | 'text' | 'image' | 'pdf' | 'hex'

const VIEWS: Record<Shape, readonly View[]> = {
  table: ['table', 'text', 'hex'],
  parquet: ['table', 'hex'],
  json: ['tree', 'text', 'hex'],
  json_lines: ['tree', 'text', 'hex'],
  text: ['text', 'hex'],
  image: ['image', 'hex'],
  pdf: ['pdf', 'hex'],
  binary: ['hex'],
}

const NAMES: Record<View, string> = { table: 'Table', tree: 'Tree', text: 'Text', image: 'Image', pdf: 'PDF', hex: 'Hex' }

/** How many bytes a view needs of so many. */
function needed(view: View, shape: Shape, size: number): number {
  if (view === 'hex' || (shape === 'parquet' && view === 'table')) return Math.min(size, HEAD)
  if (view === 'image') return size <= IMAGE_WHOLE ? size : HEAD
  if (view === 'pdf') return size <= PDF_WHOLE ? size : HEAD
  if (view === 'tree' && shape === 'json' && size <= JSON_WHOLE) return size
  return Math.min(size, PART)
}

export function Preview({ content }: { content: Content }) {
  const { url, size, name, mediaType } = content
  const head = useQuery({
    queryKey: ['content', url, 0, Math.min(size, HEAD)],
    queryFn: ({ signal }) => partOf(content, 0, Math.min(size, HEAD), signal),
    staleTime: Infinity,
    retry: false,
  })
  const sniffed = useMemo(
    () => (head.data ? sniff(head.data, mediaType, name, head.data.length >= size) : undefined),
    [head.data, mediaType, name, size],
  )
  if (size === 0) return <Said>It is empty: there are no bytes in it.</Said>
  if (head.error) {
    return <ErrorPanel error={head.error} what={`${name} can't be shown`} retry={() => void head.refetch()} />
  }
  if (!head.data || !sniffed) return <Skeletons lines={8} />
  return <Sniff key={url} content={content} head={head.data} sniffed={sniffed} />
}

function Sniff({ content, head, sniffed }: { content: Content; head: Uint8Array<ArrayBuffer>; sniffed: Sniffed }) {
  const { url, size } = content
  const views = VIEWS[sniffed.shape]
  const [chosen, setChosen] = useState<View>(views[0] ?? 'hex')
  const [broken, setBroken] = useState<string>()
  const view = broken !== undefined && chosen === views[0] ? 'hex' : chosen
  const need = needed(view, sniffed.shape, size)
  const enough = head.length >= need || head.length >= size
  const part = useQuery({
    queryKey: ['content', url, 0, need],
    queryFn: ({ signal }) => partOf(content, 0, need, signal),
    staleTime: Infinity,
    retry: false,
    enabled: !enough,
  })
  const bytes = enough ? head : part.data
  const trouble = broken ?? sniffed.doubt
  return (
    <Stack sx={{ flex: 1, minHeight: 0, minWidth: 0 }}>
      {trouble && (
        <Alert severity="warning" variant="outlined" sx={{ m: 1, py: 0 }}>
          {sentence(trouble)}. {broken === undefined ? '' : 'Its bytes are shown instead.'}
        </Alert>
      )}
      {part.error ? (
        <ErrorPanel error={part.error} what="the rest of it can't be shown" retry={() => void part.refetch()} />
      ) : bytes ? (
        <Shown view={view} content={content} sniffed={sniffed} bytes={bytes} onBroken={setBroken} toggle={views.length > 1 && <Toggle views={views} view={view} onView={(next) => { setBroken(undefined); setChosen(next) }} />} />
      ) : (
        <Skeletons lines={8} />
      )}
    </Stack>
  )
}

interface ShownProps {
  view: View
  content: Content
  sniffed: Sniffed
  bytes: Uint8Array<ArrayBuffer>
  onBroken: (why: string) => void
  toggle: ReactNode
}

function Shown(props: ShownProps) {
  const { view, content, sniffed, bytes, onBroken, toggle } = props
  const { name, size } = content
  const whole = bytes.length >= size
  if (view === 'hex') {
    const shown = bytes.subarray(0, HEAD)
    return (
      <Framed said={shown.length >= size ? `${count(size)} bytes` : `first ${inBytes(shown.length)} of ${inBytes(size)}`} toggle={toggle}>
        <HexView label={`Bytes of ${name}`} bytes={shown} />
      </Framed>
    )
  }
  if (view === 'table' && sniffed.shape === 'parquet') return <Parquet {...props} />
  if (view === 'image' || view === 'pdf') {
    if (!whole) {
      const most = view === 'image' ? IMAGE_WHOLE : PDF_WHOLE
      return <Framed said={inBytes(size)} toggle={toggle}><Said>It is larger than {inBytes(most)}, and {view === 'image' ? 'an image' : 'a PDF'} can only be shown whole. Download it to see it.</Said></Framed>
    }
    return (
      <Framed said={inBytes(size)} toggle={toggle}>
        {view === 'image' ? (
          <ImageView name={name} bytes={bytes} mediaType={sniffed.mediaType ?? 'image/png'} onBroken={() => onBroken('the browser can’t read this image')} />
        ) : (
          <PdfView name={name} bytes={bytes} />
        )}
      </Framed>
    )
  }
  return <Texts {...props} whole={whole} />
}

/** What is text: a table, a tree, or as it stands. */
function Texts({ view, content, sniffed, bytes, toggle, whole }: ShownProps & { whole: boolean }) {
  const { name, size } = content
  const encoding = sniffed.encoding ?? 'utf-8'
  const text = useMemo(() => decodeText(bytes, encoding, whole), [bytes, encoding, whole])
  const table = useMemo(() => (view === 'table' ? readTable(text, name, ROWS, !whole) : undefined), [view, text, name, whole])
  const tree = useMemo(() => {
    if (view !== 'tree') return undefined
    if (sniffed.shape === 'json_lines') return readJsonLines(text, !whole, 10_000)
    return { ...readJson(text, !whole), more: !whole }
  }, [view, text, sniffed.shape, whole])
  const inEncoding = encoding === 'utf-8' ? '' : ` · read as ${encoding}`
  if (table) {
    const numeric = numericColumns(table.rows, table.columns)
    const heads = numeric.map((number, at) => ({ name: table.header ? (table.header[at] ?? '') : `${at + 1}`, numeric: number }))
    const rows = table.rows.length === 0 ? 'no rows' : table.more ? `first ${many(table.rows.length, 'row')} of ${inBytes(size)}` : `all ${many(table.rows.length, 'row')}`
    const uneven = table.uneven > 0 ? ` · ${many(table.uneven, 'row')} with another number of cells` : ''
    const quote = table.openQuote ? ' · a quote is opened and never closed' : ''
    return (
      <Framed said={`${rows} · ${many(table.columns, 'column')}${uneven}${quote}${inEncoding}`} toggle={toggle}>
        <TableView label={`Rows of ${name}`} heads={heads} rows={table.rows} />
      </Framed>
    )
  }
  if (tree) {
    const part = tree.more ? (whole ? `first ${many(tree.root?.size ?? 0, 'line')} of ${inBytes(size)}` : `first ${inBytes(bytes.length)} of ${inBytes(size)}`) : inBytes(size)
    return (
      <Framed said={`${part}${inEncoding}`} problem={tree.problem} toggle={toggle}>
        {tree.root ? <JsonView label={`Values of ${name}`} root={tree.root} /> : <Said>Nothing in it can be shown as a tree; look at its text.</Said>}
      </Framed>
    )
  }
  return (
    <Framed said={`${whole ? inBytes(size) : `first ${inBytes(bytes.length)} of ${inBytes(size)}`}${inEncoding}`} toggle={toggle}>
      <Box sx={{ flex: 1, minHeight: 0 }}>
        <CodeEditor label={`Text of ${name}`} value={text} language={languageOf(name, content.mediaType)} readOnly />
      </Box>
    </Framed>
  )
}

function Parquet({ content, onBroken, toggle }: ShownProps) {
  const { url, size, name } = content
  const read = useQuery({
    queryKey: ['parquet', url],
    queryFn: async ({ signal }) => {
      const { readParquet } = await import('./parquet')
      const slice = async (start: number, end = size): Promise<ArrayBuffer> => (await partOf(content, start, end, signal)).buffer
      return readParquet({ byteLength: size, slice }, ROWS, PARQUET_BUDGET)
    },
    staleTime: Infinity,
    retry: false,
  })
  if (read.error) {
    return (
      <Framed said={inBytes(size)} toggle={toggle}>
        <ErrorPanel error={read.error} what="it can't be read as Parquet" affects={asProblem(read.error).hint ?? 'Look at its bytes, or download it.'} retry={() => onBroken('it can’t be read as Parquet')} />
      </Framed>
    )
  }
  if (!read.data) return <Skeletons lines={8} />
  const { columns, rows, total, left, rowGroups, writtenBy } = read.data
  const shown = total === 0 ? 'no rows' : rows.length < total ? `first ${many(rows.length, 'row')} of ${count(total)}` : `all ${many(total, 'row')}`
  const without = left.length > 0 ? ` · without ${many(left.length, 'large column')}: ${left.map((column) => column.name).join(', ')}` : ''
  return (
    <Framed said={`${shown} · ${many(columns.length, 'column')} · ${many(rowGroups, 'row group')}${writtenBy ? ` · ${writtenBy}` : ''}${without}`} toggle={toggle}>
      <TableView label={`Rows of ${name}`} heads={columns} rows={rows} />
    </Framed>
  )
}

/** A view with what is shown of it, and the choice of others. */
function Framed({ said, problem = null, toggle, children }: { said: string; problem?: string | null; toggle: ReactNode; children: ReactNode }) {
  return (
    <>
      <Stack direction="row" sx={{ px: 2, py: 0.75, minHeight: 42, alignItems: 'center', gap: 1.5, flexWrap: 'wrap', borderBottom: 1, borderColor: 'divider' }}>
        <Box className="num" sx={{ fontSize: 12, color: 'text.secondary', flex: 1, minWidth: 120 }} data-testid="preview-said">{said}</Box>
        {problem && <Box sx={{ fontSize: 12, color: 'warning.main' }}>{sentence(problem)}</Box>}
        {toggle}
      </Stack>
      {children}
    </>
  )
}

function Toggle({ views, view, onView }: { views: readonly View[]; view: View; onView: (view: View) => void }) {
  return (
    <ToggleButtonGroup exclusive size="small" value={view} onChange={(_, next: View | null) => next && onView(next)} aria-label="Shown as" sx={{ '& .MuiToggleButton-root': { py: 0.25, px: 1.25, fontSize: 12, textTransform: 'none' } }}>
      {views.map((one) => <ToggleButton key={one} value={one}>{NAMES[one]}</ToggleButton>)}
    </ToggleButtonGroup>
  )
}

function Said({ children }: { children: ReactNode }) {
  return <Box sx={{ p: 2, color: 'text.secondary' }}>{children}</Box>
}

const sentence = (words: string): string => words.charAt(0).toUpperCase() + words.slice(1)

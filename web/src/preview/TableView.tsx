// A table of text cells with a head that stays, row numbers, and numbers flush right. For a hundred rows or so.
import { Box } from '@mui/material'

export interface Head {
  name: string
  /** What stands small below the name. */
  type?: string
  numeric: boolean
}

/** Characters of a cell that are shown; a cell may hold a whole document. */
const MOST_CELL = 300

const cut = (cell: string): string => (cell.length > MOST_CELL ? `${cell.slice(0, MOST_CELL)}…` : cell)

export function TableView({ label, heads, rows }: { label: string; heads: readonly Head[]; rows: readonly (readonly string[])[] }) {
  return (
    <Box role="region" aria-label={label} tabIndex={0} sx={{ flex: 1, minHeight: 0, overflow: 'auto', '&:focus-visible': { outline: 2, outlineColor: 'primary.main', outlineOffset: -2 } }}>
      <Box
        component="table"
        className="num"
        sx={{
          borderCollapse: 'separate', borderSpacing: 0, fontSize: 13,
          '& th, & td': { px: 1.25, py: 0.5, borderBottom: 1, borderColor: 'divider', whiteSpace: 'pre', textAlign: 'left', maxWidth: 420, overflow: 'hidden', textOverflow: 'ellipsis', verticalAlign: 'top' },
          '& thead th': { position: 'sticky', top: 0, bgcolor: 'background.default', fontWeight: 600, zIndex: 1 },
          '& th:first-of-type': { color: 'text.secondary', fontWeight: 400, textAlign: 'right', fontSize: 12 },
          '& .right': { textAlign: 'right' },
          '& tbody tr:hover td': { bgcolor: 'action.hover' },
        }}
      >
        <thead>
          <tr>
            <Box component="th" scope="col"><Box component="span" sx={{ visibility: 'hidden' }} aria-hidden>#</Box><Hidden>Row</Hidden></Box>
            {heads.map((head, at) => (
              <th key={at} scope="col" className={head.numeric ? 'right' : undefined} title={head.name}>
                {head.name || <Hidden>Column {at + 1}, without a name</Hidden>}
                {head.type && <Box sx={{ fontWeight: 400, fontSize: 11, color: 'text.secondary' }}>{head.type}</Box>}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, number) => (
            <tr key={number}>
              <th scope="row">{number + 1}</th>
              {heads.map((head, at) => (
                <td key={at} className={head.numeric ? 'right' : undefined} title={(row[at] ?? '').length > 40 ? cut(row[at] ?? '') : undefined}>
                  {oneLine(row[at] ?? '')}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </Box>
    </Box>
  )
}

/** Line ends in a cell as signs, so that a row stays a row. */
const oneLine = (cell: string): string => cut(cell).replace(/\r?\n/g, '⏎')

function Hidden({ children }: { children: React.ReactNode }) {
  return <Box component="span" sx={{ position: 'absolute', width: 1, height: 1, overflow: 'hidden', clipPath: 'inset(50%)' }}>{children}</Box>
}

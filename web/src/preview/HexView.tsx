// Bytes as they are, sixteen in a row.
import { Box } from '@mui/material'
import { useVirtualizer } from '@tanstack/react-virtual'
import { useRef } from 'react'
import { hexRow, hexRows } from './hex'

const HEIGHT = 20

export function HexView({ label, bytes }: { label: string; bytes: Uint8Array }) {
  const scroller = useRef<HTMLDivElement>(null)
  const virtual = useVirtualizer({ count: hexRows(bytes.length), getScrollElement: () => scroller.current, estimateSize: () => HEIGHT, overscan: 20 })
  return (
    <Box ref={scroller} role="region" aria-label={label} tabIndex={0} className="mono" sx={{ flex: 1, minHeight: 0, overflow: 'auto', p: 1, fontSize: 12.5, '&:focus-visible': { outline: 2, outlineColor: 'primary.main', outlineOffset: -2 } }}>
      <Box sx={{ position: 'relative', minWidth: 620 }} style={{ height: virtual.getTotalSize() }}>
        {virtual.getVirtualItems().map((item) => {
          const row = hexRow(bytes, item.index)
          return (
            <Box key={item.key} sx={{ position: 'absolute', top: 0, left: 0, whiteSpace: 'pre', lineHeight: `${HEIGHT}px`, display: 'flex', gap: 2 }} style={{ transform: `translateY(${item.start}px)` }}>
              <Box component="span" sx={{ color: 'text.secondary' }}>{row.offset}</Box>
              <span>{row.bytes}</span>
              <Box component="span" sx={{ color: 'text.secondary' }}>{row.text}</Box>
            </Box>
          )
        })}
      </Box>
    </Box>
  )
}

// A place that takes a file: dropped, chosen, or by keyboard.
import Upload from '@mui/icons-material/FileUploadOutlined'
import { Box, ButtonBase } from '@mui/material'
import { useRef, useState, type ReactNode } from 'react'

export function DropZone({ onFiles, children, compact = false, label, multiple = false, accept }: { onFiles: (files: File[]) => void; children: ReactNode; compact?: boolean; label: string; multiple?: boolean; accept?: string }) {
  const [over, setOver] = useState(false)
  const input = useRef<HTMLInputElement>(null)
  return (
    <Box
      onDragOver={(event) => {
        if (!event.dataTransfer.types.includes('Files')) return
        event.preventDefault()
        setOver(true)
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault()
        setOver(false)
        const files = [...event.dataTransfer.files]
        if (files.length > 0) onFiles(multiple ? files : files.slice(0, 1))
      }}
    >
      <ButtonBase
        onClick={() => input.current?.click()}
        aria-label={label}
        sx={{
          width: '100%', display: 'flex', flexDirection: compact ? 'row' : 'column', gap: 1, p: compact ? 1 : 3, borderRadius: 1, border: 1, borderStyle: 'dashed', fontSize: 13,
          borderColor: over ? 'primary.main' : 'text.disabled', bgcolor: over ? 'action.hover' : undefined, color: 'text.secondary',
          '&:hover': { bgcolor: 'action.hover' }, '&:focus-visible': { outline: 2, outlineColor: 'primary.main' },
        }}
      >
        <Upload fontSize="small" />
        <span>{children}</span>
      </ButtonBase>
      <input
        ref={input}
        type="file"
        hidden
        multiple={multiple}
        {...(accept !== undefined && { accept })}
        onChange={(event) => {
          const files = [...(event.target.files ?? [])]
          event.target.value = ''
          if (files.length > 0) onFiles(files)
        }}
      />
    </Box>
  )
}

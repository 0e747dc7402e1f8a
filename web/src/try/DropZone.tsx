// A place that takes a file: dropped, chosen, or by keyboard.
import Upload from '@mui/icons-material/FileUploadOutlined'
import { Box, ButtonBase } from '@mui/material'
import { useRef, useState, type DragEvent, type ReactNode, type Ref } from 'react'

/** What an element needs to take dropped files, and whether some are held over it. */
export function useDrop(onFiles: (files: File[]) => void) {
  const [over, setOver] = useState(false)
  return {
    over,
    target: {
      onDragOver: (event: DragEvent) => {
        if (!event.dataTransfer.types.includes('Files')) return
        event.preventDefault()
        event.stopPropagation()
        setOver(true)
      },
      onDragLeave: () => setOver(false),
      onDrop: (event: DragEvent) => {
        event.preventDefault()
        event.stopPropagation()
        setOver(false)
        const files = [...event.dataTransfer.files]
        if (files.length > 0) onFiles(files)
      },
    },
  }
}

/** The browser's own dialog; a click on the input opens it. */
export function FileInput({ ref, onFiles, multiple = false, accept }: { ref: Ref<HTMLInputElement>; onFiles: (files: File[]) => void; multiple?: boolean; accept?: string | undefined }) {
  return (
    <input
      ref={ref}
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
  )
}

export function DropZone({ onFiles, children, compact = false, label, multiple = false, accept }: { onFiles: (files: File[]) => void; children: ReactNode; compact?: boolean; label: string; multiple?: boolean; accept?: string }) {
  const { over, target } = useDrop((files) => onFiles(multiple ? files : files.slice(0, 1)))
  const input = useRef<HTMLInputElement>(null)
  return (
    <Box {...target}>
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
      <FileInput ref={input} onFiles={onFiles} multiple={multiple} accept={accept} />
    </Box>
  )
}

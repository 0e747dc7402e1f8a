// A PDF by the browser's own viewer. It does not work in a frame with `sandbox`; what takes its place is that the blob's
// type is a PDF's, always: nothing in it is read as HTML, and the viewer itself runs apart from the page.
import { Box, Link } from '@mui/material'
import { useBlobUrl } from './ImageView'

export function PdfView({ name, bytes }: { name: string; bytes: Uint8Array<ArrayBuffer> }) {
  const url = useBlobUrl(bytes, 'application/pdf')
  if (!url) return null
  return (
    <Box sx={{ flex: 1, minHeight: 0, display: 'flex', flexDirection: 'column' }}>
      {navigator.pdfViewerEnabled ? (
        <Box component="iframe" src={url} title={`PDF ${name}`} sx={{ flex: 1, minHeight: 480, border: 0 }} />
      ) : (
        <Box sx={{ p: 2 }}>This browser does not show PDFs by itself.</Box>
      )}
      <Box sx={{ px: 2, py: 0.75, fontSize: 13 }}>
        <Link href={url} target="_blank" rel="noreferrer">Open the PDF in its own tab</Link>
      </Box>
    </Box>
  )
}

// An image of bytes that were fetched: as a blob it runs no script, whatever is in it.
import { Box } from '@mui/material'
import { useEffect, useState } from 'react'
import { count } from '../lib/format'

/** A URL of the bytes as long as they are shown. */
export function useBlobUrl(bytes: Uint8Array<ArrayBuffer>, mediaType: string): string | undefined {
  const [url, setUrl] = useState<string>()
  useEffect(() => {
    const made = URL.createObjectURL(new Blob([bytes], { type: mediaType }))
    setUrl(made)
    return () => URL.revokeObjectURL(made)
  }, [bytes, mediaType])
  return url
}

export function ImageView({ name, bytes, mediaType, onBroken }: { name: string; bytes: Uint8Array<ArrayBuffer>; mediaType: string; onBroken: () => void }) {
  const url = useBlobUrl(bytes, mediaType)
  const [size, setSize] = useState<[number, number]>()
  return (
    <Box role="region" aria-label={`Image ${name}`} tabIndex={0} sx={{ flex: 1, minHeight: 0, overflow: 'auto', display: 'grid', placeItems: 'center', p: 2, bgcolor: 'canvas.main' }}>
      <Box component="figure" sx={{ m: 0, display: 'grid', gap: 1, justifyItems: 'center' }}>
        {url && (
          <Box
            component="img"
            src={url}
            alt={name}
            onLoad={(event) => setSize([event.currentTarget.naturalWidth, event.currentTarget.naturalHeight])}
            onError={onBroken}
            sx={{ maxWidth: '100%', maxHeight: '60vh', objectFit: 'contain', bgcolor: '#fff', boxShadow: 1 }}
          />
        )}
        {size && size[0] > 0 && <Box component="figcaption" className="num" sx={{ fontSize: 12, color: 'text.secondary' }}>{count(size[0])} × {count(size[1])} pixels</Box>}
      </Box>
    </Box>
  )
}

// The dots behind the cards, on the very ground that is moved. React Flow's own background stands beside it, and is drawn
// anew over the whole canvas for each step of a drag; these come along, drawn once.
import { ViewportPortal } from '@xyflow/react'
import { memo } from 'react'

/** So far around the lanes there are dots. */
const MARGIN = 3000

export const Dots = memo(function Dots({ width, height }: { width: number; height: number }) {
  return (
    <ViewportPortal>
      <div className="canvas-dots" aria-hidden style={{ left: -MARGIN, top: -MARGIN, width: width + 2 * MARGIN, height: height + 2 * MARGIN }} />
    </ViewportPortal>
  )
})

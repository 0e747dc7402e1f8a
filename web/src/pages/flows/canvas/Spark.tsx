// How many items a processor gave in the last two minutes, in steps of five seconds, as the stream told.
import { memo } from 'react'
import { useSteps } from '../../../events/store'

const WIDTH = 66
const HEIGHT = 20

export const Spark = memo(function Spark({ slug, id }: { slug: string; id: string }) {
  const steps = useSteps(slug, id).split(',').map(Number)
  const most = Math.max(...steps)
  if (most === 0) return null
  const points = steps.map((one, at) => `${((at / (steps.length - 1)) * WIDTH).toFixed(1)},${(HEIGHT - 1 - (one / most) * (HEIGHT - 3)).toFixed(1)}`)
  return (
    <svg width={WIDTH} height={HEIGHT} aria-hidden style={{ alignSelf: 'flex-end', overflow: 'visible', flexShrink: 0 }}>
      <polygon points={`0,${HEIGHT} ${points.join(' ')} ${WIDTH},${HEIGHT}`} fill="var(--lane-soft)" />
      <polyline points={points.join(' ')} fill="none" stroke="var(--lane)" strokeWidth="1.4" />
    </svg>
  )
})

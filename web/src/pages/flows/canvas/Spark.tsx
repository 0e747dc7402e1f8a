// How many items a processor gave in the last two minutes, in steps of some seconds, as the stream told.
import { memo } from 'react'
import { events } from '../../../events/store'

const WIDTH = 66
const HEIGHT = 20

export const Spark = memo(function Spark({ slug, id, done }: { slug: string; id: string; done: number }) {
  const steps = events.steps(slug, id)
  if (steps.length < 2 || steps.every((one) => one === 0)) return null
  const most = Math.max(...steps)
  const points = steps.map((one, at) => `${((at / (steps.length - 1)) * WIDTH).toFixed(1)},${(HEIGHT - 1 - (one / most) * (HEIGHT - 3)).toFixed(1)}`)
  return (
    <svg width={WIDTH} height={HEIGHT} aria-hidden data-done={done} style={{ alignSelf: 'flex-end', overflow: 'visible' }}>
      <polygon points={`0,${HEIGHT} ${points.join(' ')} ${WIDTH},${HEIGHT}`} fill="var(--lane-soft)" />
      <polyline points={points.join(' ')} fill="none" stroke="var(--lane)" strokeWidth="1.4" />
    </svg>
  )
})

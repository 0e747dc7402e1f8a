// A few numbers as a small graph: how much, part by part, and how much of it failed. What it shows is its name, too, for
// those who do not see it.
import { Box } from '@mui/material'
import { useTheme } from '@mui/material/styles'

const WIDTH = 96
const HEIGHT = 24

/** `values` and `failed` are of the same parts, the oldest first; `label` says in words what they come to. */
export function Sparkline({ values, failed, label }: { values: readonly number[]; failed: readonly number[]; label: string }) {
  const { vars } = useTheme()
  const most = Math.max(1, ...values)
  const step = WIDTH / values.length
  // What is there at all is seen, however little it is.
  const high = (value: number) => (value === 0 ? 0 : Math.max(2, (value / most) * (HEIGHT - 1)))
  return (
    <Box component="svg" role="img" aria-label={label} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} sx={{ width: WIDTH, height: HEIGHT, display: 'block' }}>
      <title>{label}</title>
      <rect x={0} y={HEIGHT - 1} width={WIDTH} height={1} fill={vars?.palette.divider} />
      {values.map((value, at) => {
        const bad = Math.min(failed[at] ?? 0, value)
        const [whole, red] = [high(value), high(bad)]
        return (
          <g key={at}>
            {value > 0 && <rect x={at * step + 0.5} y={HEIGHT - whole} width={step - 1} height={whole} fill={vars?.palette.primary.main} />}
            {bad > 0 && <rect x={at * step + 0.5} y={HEIGHT - red} width={step - 1} height={red} fill={vars?.palette.error.main} />}
          </g>
        )
      })}
    </Box>
  )
}

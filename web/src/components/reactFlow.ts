// What stands on every React Flow canvas of ours: its buttons and its name, in the colours of the theme.
import type { Theme } from '@mui/material/styles'

export function canvasFrame({ vars: { palette } }: Theme) {
  return {
    backgroundColor: palette.canvas.main,
    '& .react-flow': { '--xy-background-color': palette.canvas.main, background: palette.canvas.main },
    '& .react-flow__attribution': { backgroundColor: 'transparent', fontSize: 10 },
    '& .react-flow__attribution a': { color: palette.text.secondary },
    '& .react-flow__controls': { boxShadow: 'none', border: `1px solid ${palette.divider}`, borderRadius: '6px', overflow: 'hidden' },
    '& .react-flow__controls-button': { backgroundColor: palette.background.paper, color: palette.text.primary, borderColor: palette.divider, width: 28, height: 28 },
  } as const
}

// What is shown when there is nothing, not yet anything, or something went wrong.
import { Alert, AlertTitle, Box, Button, Skeleton, Stack, Typography } from '@mui/material'
import { useEffect, useState, type ReactNode } from 'react'
import { asProblem } from '../api/problem'
import { Prose } from './bits'

/** True once `waiting` has lasted so long that saying so helps. */
export function useDelayed(waiting: boolean, ms = 200): boolean {
  const [late, setLate] = useState(false)
  useEffect(() => {
    if (!waiting) return
    const timer = setTimeout(() => setLate(true), ms)
    return () => {
      clearTimeout(timer)
      setLate(false)
    }
  }, [waiting, ms])
  return waiting && late
}

/** Grey lines in place of what is being fetched, after 200 ms. */
export function Skeletons({ lines = 6, height = 28 }: { lines?: number; height?: number }) {
  const late = useDelayed(true)
  return (
    <Stack spacing={1} sx={{ p: 2, minHeight: lines * height }} aria-busy="true" aria-label="Loading" role="status">
      {late && Array.from({ length: lines }, (_, at) => <Skeleton key={at} variant="rounded" height={height - 8} width={`${96 - ((at * 17) % 40)}%`} />)}
    </Stack>
  )
}

/** What happened, what it affects, what to do. */
export function ErrorPanel(props: { error: unknown; what: string; affects?: string; retry?: () => void; children?: ReactNode }) {
  const problem = asProblem(props.error)
  return (
    <Box sx={{ p: 2 }}>
      <Alert
        severity="error"
        variant="outlined"
        {...(props.retry && { action: <Button color="inherit" onClick={props.retry}>Retry</Button> })}
      >
        <AlertTitle sx={{ fontSize: 14 }}>{props.what}</AlertTitle>
        <Typography variant="body2" sx={{ wordBreak: 'break-word' }}><Prose text={problem.message} /></Typography>
        {props.affects && problem.status > 0 && problem.status < 502 && <Typography variant="body2" sx={{ mt: 0.5 }}>{props.affects}</Typography>}
        {problem.hint && <Typography variant="body2" sx={{ mt: 0.5 }}><Prose text={problem.hint} /></Typography>}
        {props.children}
        <Typography variant="caption" component="p" sx={{ mt: 1, color: 'text.secondary' }}>
          {problem.code}
          {problem.status > 0 && ` · ${problem.status}`}
          {problem.requestId && <> · request <span className="mono">{problem.requestId}</span></>}
        </Typography>
      </Alert>
    </Box>
  )
}

/** Nothing here: why, and what makes something come. */
export function EmptyState({ icon, title, children, actions }: { icon?: ReactNode; title: string; children?: ReactNode; actions?: ReactNode }) {
  return (
    <Stack spacing={1.5} sx={{ alignItems: 'center', py: 7, px: 3, textAlign: 'center' }}>
      {icon && <Box sx={{ color: 'text.secondary', '& svg': { fontSize: 40 } }}>{icon}</Box>}
      <Typography variant="h2" component="p">{title}</Typography>
      {children && <Box sx={{ maxWidth: 520, color: 'text.secondary', fontSize: 13 }}>{children}</Box>}
      {actions && <Stack direction="row" spacing={1} sx={{ pt: 1 }}>{actions}</Stack>}
    </Stack>
  )
}

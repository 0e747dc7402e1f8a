// Why a try-out could not be made at all: the flow's own mistakes, each with its hint.
import { Alert, Box } from '@mui/material'
import type { Problem } from '../api/problem'

export function ProblemNote({ problem }: { problem: Problem }) {
  const list = problem.diagnostics ?? []
  return (
    <Alert severity="error" variant="outlined" sx={{ m: 1.5 }}>
      <Box sx={{ fontWeight: 600 }}>{problem.message}</Box>
      {list.length > 0 ? (
        <Box component="ul" sx={{ m: 0, mt: 0.5, pl: 2 }}>
          {list.slice(0, 6).map((one, at) => (
            <li key={at}>
              {one.span && `line ${one.span.line}: `}
              {one.message}
              {one.hint && <Box component="span" sx={{ color: 'text.secondary' }}> ({one.hint})</Box>}
            </li>
          ))}
        </Box>
      ) : (
        problem.hint && <Box>{problem.hint}</Box>
      )}
      {problem.requestId && <Box className="mono" sx={{ fontSize: 11, color: 'text.secondary', mt: 0.5 }}>request {problem.requestId}</Box>}
    </Alert>
  )
}

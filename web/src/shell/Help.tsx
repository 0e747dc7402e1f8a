// The keys that work here, and the switch for those without Ctrl.
import { Box, Dialog, DialogContent, DialogTitle, FormControlLabel, Switch, Typography } from '@mui/material'
import { Fragment } from 'react'
import { Keys } from '../components/bits'
import { useStored } from '../lib/stored'
import { keyNames, LETTERS, useAllCommands } from './commands'

export function Help({ open, onClose }: { open: boolean; onClose: () => void }) {
  const commands = useAllCommands().filter((command) => command.keys !== undefined)
  const [letters, setLetters] = useStored(LETTERS)
  const groups = [...new Set(commands.map((command) => command.group))]
  return (
    <Dialog open={open} onClose={onClose} maxWidth="sm" fullWidth aria-labelledby="keys-title">
      <DialogTitle id="keys-title" sx={{ fontSize: 16 }}>Keys</DialogTitle>
      <DialogContent>
        <FormControlLabel
          control={<Switch checked={letters !== 'off'} onChange={(event) => setLetters(event.target.checked ? undefined : 'off')} />}
          label="Keys without Ctrl (never while you type in a field)"
          sx={{ mb: 1, '& .MuiTypography-root': { fontSize: 13 } }}
        />
        {groups.map((group) => (
          <Box key={group} sx={{ mb: 2 }}>
            <Typography variant="h3" sx={{ mb: 0.5, color: 'text.secondary' }}>{group}</Typography>
            <Box component="dl" sx={{ display: 'grid', gridTemplateColumns: '1fr auto', rowGap: 0.75, m: 0, fontSize: 13 }}>
              {commands.filter((command) => command.group === group).map((command) => (
                <Fragment key={command.id}>
                  <dt>{command.label}</dt>
                  <Box component="dd" sx={{ m: 0, textAlign: 'right' }}><Keys names={keyNames(command.keys ?? '')} /></Box>
                </Fragment>
              ))}
            </Box>
          </Box>
        ))}
      </DialogContent>
    </Dialog>
  )
}

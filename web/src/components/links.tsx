// Links and buttons that go to a page of ours, typed by the router.
import { Button, Link } from '@mui/material'
import { createLink } from '@tanstack/react-router'

export const AppLink = createLink(Link)
export const ButtonLink = createLink(Button)

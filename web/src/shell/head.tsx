// The two places in the head of the shell that the shown page fills: its title, and what can be done with it.
import { createContext, useContext, type ReactNode } from 'react'
import { createPortal } from 'react-dom'

export interface HeadPlaces {
  title: HTMLElement | null
  actions: HTMLElement | null
}

export const HeadContext = createContext<HeadPlaces>({ title: null, actions: null })

export function Head({ title, actions }: { title: ReactNode; actions?: ReactNode }) {
  const places = useContext(HeadContext)
  return (
    <>
      {places.title && createPortal(title, places.title)}
      {places.actions && actions && createPortal(actions, places.actions)}
    </>
  )
}

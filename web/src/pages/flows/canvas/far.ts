// Whether the canvas is so far away that text on it cannot be read. One look at the zoom for all cards.
import { useStore } from '@xyflow/react'
import { createContext, useContext } from 'react'

/** Below this zoom. */
const LEGIBLE = 0.45

const Far = createContext(false)

export const FarProvider = Far.Provider
export const useFar = () => useContext(Far)
export const useIsFar = () => useStore((state) => state.transform[2] < LEGIBLE)

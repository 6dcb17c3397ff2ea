// As much of React's hooks as the example needs: React itself is no part of this repository.
const cells = []
let next = 0
let cleanups = []

/** Calls a hook as a component does. */
export function render(hook) {
  next = 0
  return hook()
}

export function unmount() {
  for (const cleanup of cleanups.splice(0)) cleanup()
}

export function useState(initial) {
  const index = next++
  if (!(index in cells)) cells[index] = initial
  return [cells[index], (value) => (cells[index] = value)]
}

export const useRef = (initial) => useState({ current: initial })[0]

export function useEffect(effect) {
  const [seen, see] = useState(false)
  if (seen) return
  see(true)
  cleanups.push(effect() ?? (() => {}))
}

export function useState<T>(initial: T): [T, (value: T) => void];
export function useRef<T>(initial: T): { current: T };
export function useEffect(effect: () => void | (() => void), dependencies: unknown[]): void;

// Finds modules as a bundler does in a frontend: `@/…`, no extensions, and React's stand-in.
import { existsSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { fileURLToPath, pathToFileURL } from 'node:url'
import path from 'node:path'

const project = process.cwd()

registerHooks({
  resolve(specifier, context, next) {
    if (specifier === 'react') return next(pathToFileURL(path.join(project, 'react.mjs')).href, context)
    let target = null
    if (specifier.startsWith('@/')) target = path.join(project, specifier.slice(2))
    else if (specifier.startsWith('.') && context.parentURL?.startsWith('file:'))
      target = path.resolve(path.dirname(fileURLToPath(context.parentURL)), specifier)
    if (target && !target.includes('node_modules'))
      for (const end of ['.mjs', '.js', ''])
        if (existsSync(target + end) && path.extname(target + end)) return next(pathToFileURL(target + end).href, context)
    return next(specifier, context)
  },
})

// Every case. Reads {local, pictures, chromium} from BROWSER_TESTS.
import { browser, run, supabase } from './harness.mjs'

await import('./pages.mjs')
await import('./hashing.mjs')
await import('./prechecks.mjs')
await import('./locally.mjs')
await import('./jobs.mjs')
await import('./under_node.mjs')
await import('./playground.mjs')
await import('./accounts.mjs')
await import('./access.mjs')
await import('./library.mjs')
await import('./keys.mjs')
await import('./money.mjs')
await import('./teams.mjs')

await run()
await browser.close()
supabase.close()
process.exit(0)

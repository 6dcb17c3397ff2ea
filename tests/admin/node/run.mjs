// The cases of the page for operators. Reads {local, chromium} from BROWSER_TESTS.
import { browser, run, supabase } from '../../browser/node/harness.mjs'

await import('./page.mjs')

await run()
await browser.close()
supabase.close()
process.exit(0)

// Every case of the contract with the JavaScript clients. Reads {supabase_url, …} from CONTRACT.
import { assert, run, service, test, uncalled, watch } from './harness.mjs'

const { storage } = service
const classes = {
  storage,
  file: storage.from('x'),
  download: storage.from('x').download('x'),
  analytics: storage.analytics,
  vectors: storage.vectors,
  vectorBucket: storage.vectors.from('x'),
  vectorIndex: storage.vectors.from('x').index('x'),
}
for (const [label, object] of Object.entries(classes)) watch(label, object)

await import('./buckets.mjs')
await import('./files.mjs')
await import('./signed.mjs')
await import('./access.mjs')
await import('./tus.mjs')

test('every method of supabase-js storage was called', () => {
  const missing = Object.entries(classes).flatMap(([label, object]) => uncalled(label, object))
  assert.deepEqual(missing, [])
})

await run()
process.exit(0)

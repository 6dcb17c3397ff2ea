// Lists with real supabase-js, as docs/frontend.md has them. Reads {supabase_url, publishable_key, api_url, mine, theirs}
// from LISTING; each case answers one JSON line: {"name", "error"}.
import assert from 'node:assert/strict'
import { createClient } from '@supabase/supabase-js'
import { run, test } from '../../node/cases.mjs'

const env = JSON.parse(process.env.LISTING)
const auth = { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false }

/** A client with somebody's session, or without one. */
function clientOf(token) {
  const global = token ? { headers: { Authorization: `Bearer ${token}` } } : {}
  return createClient(env.supabase_url, env.publishable_key, { auth, global })
}

const supabase = clientOf(env.mine)
const stranger = clientOf(env.theirs)
const anonymous = clientOf(null)

function ok({ data, error }) {
  assert.equal(error, null, error?.message)
  return data
}

const page = (from) => {
  const rows = from
    .from('images')
    .select('id, filename, created_at, image_outputs!image_outputs_image_id_fkey(id, bucket, thumb_path, op_key)')
    .eq('user_id', env.user)
    .is('archived_at', null)
  return rows.order('created_at', { ascending: false }).order('id', { ascending: false }).limit(2)
}

test('pages by keyset', async () => {
  const first = ok(await page(supabase))
  assert.deepEqual(first.map((image) => image.filename), ['cup.jpg', 'white-mug.jpg'])
  const { created_at, id } = first.at(-1)
  const after = `created_at.lt."${created_at}",and(created_at.eq."${created_at}",id.lt.${id})`
  const second = ok(await page(supabase).or(after))
  assert.deepEqual(second.map((image) => image.filename), ['cat.jpg'])
})

test('the same images as GET /images', async () => {
  const answer = await fetch(`${env.api_url}/images`, { headers: { Authorization: `Bearer ${env.mine}` } })
  const { images } = await answer.json()
  const rows = ok(await supabase.from('images').select('id').is('archived_at', null).order('created_at', { ascending: false }))
  assert.deepEqual(rows.map((row) => row.id), images.map((image) => image.image_id))
})

test('signs the thumbnails of a page, many at once', async () => {
  const outputs = ok(await page(supabase)).flatMap((image) => image.image_outputs)
  assert.equal(outputs.length, 2)
  const paths = outputs.map((output) => output.thumb_path)
  const signed = ok(await supabase.storage.from('outputs-ephemeral').createSignedUrls(paths, 600))
  for (const { signedUrl } of signed) assert.equal((await fetch(signedUrl)).status, 200)
  const foreign = ok(await stranger.storage.from('outputs-ephemeral').createSignedUrls(paths, 600))
  assert.ok(foreign.every((item) => item.error))
})

test('searches words of filename and prompt', async () => {
  const search = async (words) =>
    ok(await supabase.from('images').select('filename').textSearch('search', words, { config: 'simple', type: 'websearch' }))
  assert.deepEqual(await search('mug'), [{ filename: 'white-mug.jpg' }])
  assert.deepEqual(await search('"oak table" -cat'), [{ filename: 'white-mug.jpg' }])
  assert.deepEqual(await search("'; drop table images"), [])
})

test('filters by op', async () => {
  const rows = ok(
    await supabase.from('image_outputs').select('image_id, ops').contains('ops', ['bgremove']),
  )
  assert.deepEqual(rows, [{ image_id: env.mug, ops: ['bgremove', 'flatten'] }])
})

test('reads the tree of collections and what lies in one', async () => {
  const rows = ok(await supabase.from('collections').select('id, parent_id, name').order('name'))
  assert.deepEqual(rows.map(({ name, parent_id }) => [name, parent_id]), [['Mugs', env.shop], ['Shop', null]])
  const mugs = rows.find((row) => row.name === 'Mugs').id
  const items = ok(
    await supabase.from('collection_items').select('image_id, images(filename)').eq('collection_id', mugs),
  )
  assert.deepEqual(items, [{ image_id: env.mug, images: { filename: 'white-mug.jpg' } }])
  const { count, error } = await supabase
    .from('collection_items')
    .select('image_id', { count: 'exact', head: true })
    .eq('collection_id', mugs)
  assert.deepEqual([count, error], [1, null])
})

test('strangers see nothing, the anonymous are refused', async () => {
  for (const table of ['images', 'image_outputs', 'collections', 'collection_items']) {
    assert.deepEqual(ok(await stranger.from(table).select('user_id')), [], table)
    assert.ok((await anonymous.from(table).select('user_id')).error, table)
  }
})

test('nobody writes from a browser', async () => {
  const answers = [
    await supabase.from('collections').insert({ user_id: env.user, name: 'Mine' }),
    await supabase.from('collections').update({ name: 'Other' }).eq('id', env.shop),
    await supabase.from('collections').delete().eq('id', env.shop),
    await supabase.from('collection_items').delete().eq('image_id', env.mug),
    await supabase.from('images').update({ archived_at: null }).eq('id', env.mug),
    await supabase.rpc('list_images', { p_user_id: env.user, p_limit: 10 }),
    await supabase.rpc('change_images', { p_user_id: env.user, p_image_ids: [env.mug], p_action: 'delete' }),
  ]
  for (const { error } of answers) assert.ok(error)
  assert.equal(ok(await supabase.from('collections').select('name').eq('id', env.shop))[0].name, 'Shop')
})

await run()
process.exit(0)

// The examples of docs/teams.md with real supabase-js, and what it may not do. Reads {supabase_url, publishable_key, team,
// image, bucket, paths, tokens: {role: token}} from TEAM.
import assert from 'node:assert/strict'
import { createClient } from '@supabase/supabase-js'
import { run, test } from '../../node/cases.mjs'

const env = JSON.parse(process.env.TEAM)
const auth = { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false }
const members = ['owner', 'editor', 'viewer']
const outsiders = ['former', 'stranger']
const clients = Object.fromEntries(
  Object.entries(env.tokens).map(([role, token]) => [
    role,
    createClient(env.supabase_url, env.publishable_key, { auth, global: { headers: { Authorization: `Bearer ${token}` } } }),
  ]),
)

function ok({ data, error }) {
  assert.equal(error, null, error?.message)
  return data
}

const listed = (supabase) =>
  supabase
    .from('images')
    .select('id, filename, created_at, image_outputs!image_outputs_image_id_fkey(id, bucket, thumb_path)')
    .eq('team_id', env.team)
    .is('archived_at', null)
    .order('created_at', { ascending: false })
    .order('id', { ascending: false })
    .limit(24)

test('members list the pictures of their team and sign what it has', async () => {
  for (const role of members) {
    const supabase = clients[role]
    const images = ok(await listed(supabase))
    assert.deepEqual(images.map((image) => image.id), [env.image], role)
    const paths = images.flatMap((image) => image.image_outputs.map((output) => output.thumb_path))
    const thumbs = ok(await supabase.storage.from('user-library').createSignedUrls(paths, 600))
    for (const { signedUrl } of thumbs) assert.equal((await fetch(signedUrl)).status, 200, role)
    assert.deepEqual(ok(await supabase.from('teams').select('id, name')), [{ id: env.team, name: 'Shop' }])
    assert.deepEqual(ok(await supabase.from('team_members').select('team_id, role')), [{ team_id: env.team, role }])
  }
})

test('outsiders list nothing and sign nothing', async () => {
  for (const role of outsiders) {
    const supabase = clients[role]
    assert.deepEqual(ok(await listed(supabase)), [], role)
    for (const table of ['teams', 'team_members', 'image_outputs', 'collections', 'collection_items', 'share_links']) {
      assert.deepEqual(ok(await supabase.from(table).select(table === 'teams' ? 'id' : 'team_id')), [], `${role} ${table}`)
    }
    const signed = ok(await supabase.storage.from('user-library').createSignedUrls(env.paths, 600))
    assert.ok(signed.every((item) => item.error && !item.signedUrl), role)
  }
})

test('every object of the team is downloaded by members alone', async () => {
  for (const [role, supabase] of Object.entries(clients)) {
    for (const path of env.paths) {
      const { data, error } = await supabase.storage.from('user-library').download(path)
      assert.equal(data !== null && error === null, members.includes(role), `${role} ${path}`)
    }
  }
})

test('nobody writes an object of the team', async () => {
  const bytes = new Blob([new Uint8Array([1, 2, 3])], { type: 'image/webp' })
  for (const [role, supabase] of Object.entries(clients)) {
    const library = supabase.storage.from('user-library')
    for (const path of env.paths) {
      const answers = [
        await library.upload(`${env.team}/${crypto.randomUUID()}.webp`, bytes),
        await library.upload(path, bytes, { upsert: true }),
        await library.update(path, bytes),
        await library.move(path, `${path}.moved`),
        await library.copy(path, `${path}.copied`),
        await library.createSignedUploadUrl(`${env.team}/${crypto.randomUUID()}.webp`),
      ]
      for (const [index, { error }] of answers.entries()) assert.ok(error, `${role} ${index} ${path}`)
      const { data, error } = await library.remove([path])
      assert.ok(error || data.length === 0, `${role} removed ${path}`)
    }
  }
  for (const path of env.paths) {
    const { data } = await clients.viewer.storage.from('user-library').download(path)
    assert.ok(data.size > 3, path)
  }
})

test('nobody writes a row of the team', async () => {
  for (const [role, supabase] of Object.entries(clients)) {
    const answers = [
      await supabase.from('images').update({ archived_at: new Date().toISOString() }).eq('team_id', env.team),
      await supabase.from('images').delete().eq('team_id', env.team),
      await supabase.from('collections').insert({ team_id: env.team, name: 'Mine' }),
      await supabase.from('team_members').update({ role: 'owner' }).eq('team_id', env.team),
      await supabase.from('team_members').delete().eq('team_id', env.team),
      await supabase.from('teams').delete().eq('id', env.team),
      await supabase.from('team_invitations').select(),
      await supabase.rpc('delete_team', { p_team_id: env.team, p_user_id: env.owner, p_name: 'Shop' }),
    ]
    for (const [index, { error }] of answers.entries()) assert.ok(error, `${role} ${index}`)
  }
  assert.equal(ok(await listed(clients.viewer)).length, 1)
})

await run()

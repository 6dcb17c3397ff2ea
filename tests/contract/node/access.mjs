// Policies of the test: a signed-in user may do anything in the folder of their own id, in buckets `contract-…`.
import { anon, assert, env, makeBucket, ok, refused, service, signUp, test } from './harness.mjs'

test('an owner works in their own folder', async () => {
  const bucket = await makeBucket()
  const { client, id } = await signUp()
  const files = client.storage.from(bucket)
  ok(await files.upload(`${id}/a.txt`, 'mine'))
  ok(await files.upload(`${id}/a.txt`, 'mine again', { upsert: true }))
  assert.equal(await ok(await files.download(`${id}/a.txt`)).text(), 'mine again')
  ok(await files.copy(`${id}/a.txt`, `${id}/b.txt`))
  ok(await files.move(`${id}/b.txt`, `${id}/c.txt`))
  assert.deepEqual(ok(await files.list(id)).map(({ name }) => name), ['a.txt', 'c.txt'])
  assert.equal((await fetch(ok(await files.createSignedUrl(`${id}/a.txt`, 60)).signedUrl)).status, 200)
  const { token, path } = ok(await files.createSignedUploadUrl(`${id}/d.txt`))
  ok(await anon.storage.from(bucket).uploadToSignedUrl(path, token, 'by whoever holds the token'))
  const removed = ok(await service.storage.from(bucket).remove([`${id}/d.txt`]))
  assert.deepEqual([removed[0].owner, removed[0].owner_id], [id, id])
  assert.equal(ok(await files.remove([`${id}/a.txt`, `${id}/c.txt`])).length, 2)
})

test('a stranger sees and changes nothing', async () => {
  const bucket = await makeBucket()
  const [owner, stranger] = [await signUp(), await signUp()]
  const path = `${owner.id}/a.txt`
  ok(await owner.client.storage.from(bucket).upload(path, 'mine'))
  const files = stranger.client.storage.from(bucket)
  const denied = refused(await files.upload(`${owner.id}/b.txt`, 'x'), 403)
  assert.equal(denied.status, 400)
  assert.equal(denied.message, 'new row violates row-level security policy')
  refused(await files.upload(path, 'x', { upsert: true }), 403)
  refused(await files.update(path, 'x'), 403)
  refused(await files.createSignedUploadUrl(`${owner.id}/c.txt`), 403)
  refused(await files.createSignedUrl(path, 60), 404)
  assert.ok(ok(await files.createSignedUrls([path], 60))[0].error)
  refused(await files.info(path), 404)
  assert.ok((await files.download(path)).error)
  refused(await files.copy(path, `${stranger.id}/a.txt`), 404)
  refused(await files.move(path, `${stranger.id}/a.txt`), 404)
  assert.deepEqual(ok(await files.list(owner.id)), [])
  assert.deepEqual(ok(await files.listV2({ prefix: owner.id })).objects, [])
  assert.deepEqual(ok(await files.remove([path])), [])
  assert.equal(await ok(await owner.client.storage.from(bucket).download(path)).text(), 'mine')
})

test('anon sees and changes nothing in a private bucket', async () => {
  const bucket = await makeBucket()
  ok(await service.storage.from(bucket).upload('a.txt', 'x'))
  const files = anon.storage.from(bucket)
  refused(await files.upload('b.txt', 'x'), 403)
  refused(await files.createSignedUploadUrl('b.txt'), 403)
  refused(await files.createSignedUrl('a.txt', 60), 404)
  refused(await files.info('a.txt'), 404)
  assert.ok((await files.download('a.txt')).error)
  assert.deepEqual(ok(await files.list()), [])
  assert.deepEqual(ok(await files.remove(['a.txt'])), [])
  refused(await anon.storage.getBucket(bucket), 404)
})

test('an owner cannot move or copy into a stranger folder', async () => {
  const bucket = await makeBucket()
  const [owner, stranger] = [await signUp(), await signUp()]
  const files = owner.client.storage.from(bucket)
  ok(await files.upload(`${owner.id}/a.txt`, 'mine'))
  refused(await files.copy(`${owner.id}/a.txt`, `${stranger.id}/a.txt`), 403)
  refused(await files.move(`${owner.id}/a.txt`, `${stranger.id}/a.txt`), 403)
})

test('a forged or expired session is refused', async () => {
  const bucket = await makeBucket()
  const { token } = await signUp()
  const list = async (bearer) =>
    await (
      await fetch(`${env.supabase_url}/storage/v1/object/list/${bucket}`, {
        method: 'POST',
        headers: { apikey: env.publishable_key, Authorization: `Bearer ${bearer}` },
        body: '{"prefix":""}',
      })
    ).json()
  assert.deepEqual(await list(token), [])
  const forged = await list(token.slice(0, -6) + 'AAAAAA')
  assert.deepEqual([forged.statusCode, forged.error], ['403', 'Unauthorized'])
  assert.equal((await list('a.b.c')).statusCode, '403')
})

test('auth through the gateway: sign in, who am I, sign out', async () => {
  const { client, id, email, password } = await signUp()
  ok(await client.auth.signOut())
  const wrong = await client.auth.signInWithPassword({ email, password: password + 'x' })
  assert.equal(wrong.error.status, 400)
  const { user } = ok(await client.auth.signInWithPassword({ email, password }))
  assert.equal(user.id, id)
  assert.equal(ok(await client.auth.getUser()).user.email, email)
  const fresh = ok(await client.auth.refreshSession())
  assert.ok(fresh.session.access_token)
})

test('rest through the gateway: rows under RLS, count, error shape', async () => {
  const { client, id } = await signUp()
  const own = ok(await client.from('profiles').select('user_id, plan_id'))
  assert.equal(own.length, 1)
  assert.ok(Object.values(own[0]).includes(id))
  const { count, error } = await client.from('profiles').select('user_id', { count: 'exact', head: true })
  assert.equal(error, null)
  assert.equal(count, 1)
  const { error: missing, status } = await client.from('there_is_no_such_table').select()
  assert.ok(missing.code && status >= 400)
  assert.equal(ok(await service.from('profiles').select().limit(1)).length, 1)
})

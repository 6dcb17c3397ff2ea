import { createHmac } from 'node:crypto'
import { assert, env, makeBucket, ok, refused, service, storageUrl, test } from './harness.mjs'

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')

/** A token as the storage server would sign it. */
function sign(claims) {
  const now = Math.floor(Date.now() / 1000)
  const head = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ iat: now, exp: now + 60, ...claims })}`
  return `${head}.${createHmac('sha256', env.jwt_secret).update(head).digest('base64url')}`
}

const claimsOf = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'))

test('createSignedUrl serves the object without a key', async () => {
  const bucket = await makeBucket()
  const files = service.storage.from(bucket)
  ok(await files.upload('a b.txt', 'signed', { cacheControl: '60' }))
  const { signedUrl } = ok(await files.createSignedUrl('a b.txt', 60))
  const answer = await fetch(signedUrl)
  assert.equal(answer.status, 200)
  assert.equal(await answer.text(), 'signed')
  assert.equal(answer.headers.get('content-disposition'), null)
  const named = ok(await files.createSignedUrl('a b.txt', 60, { download: 'x.txt' }))
  const download = await fetch(named.signedUrl)
  assert.equal(download.headers.get('content-disposition'), "attachment; filename=x.txt; filename*=UTF-8''x.txt;")
  refused(await files.createSignedUrl('none', 60), 404)
  refused(await files.createSignedUrl('a b.txt', 0), 400)
})

test('createSignedUrls tells the error of each path', async () => {
  const files = service.storage.from(await makeBucket())
  ok(await files.upload('a.txt', 'x'))
  const [found, missing] = ok(await files.createSignedUrls(['a.txt', 'none.txt'], 60, { download: true }))
  assert.equal(found.error, null)
  assert.equal(found.path, 'a.txt')
  assert.equal((await fetch(found.signedUrl)).headers.get('content-disposition'), 'attachment;')
  assert.equal(missing.signedUrl, null)
  assert.equal(missing.path, 'none.txt')
  assert.match(missing.error, /does not exist or you do not have access/)
})

test('a signed URL ends, and serves its own path only', async () => {
  const bucket = await makeBucket()
  const files = service.storage.from(bucket)
  ok(await files.upload('a.txt', 'x'))
  ok(await files.upload('b.txt', 'y'))
  const get = async (path, token) => await (await fetch(`${storageUrl}/object/sign/${bucket}/${path}?token=${token}`)).json()
  const expired = await get('a.txt', sign({ url: `${bucket}/a.txt`, exp: 1 }))
  assert.deepEqual([expired.statusCode, expired.error], ['400', 'InvalidJWT'])
  assert.equal(expired.message, '"exp" claim timestamp check failed')
  const other = await get('b.txt', sign({ url: `${bucket}/a.txt` }))
  assert.deepEqual([other.statusCode, other.error], ['400', 'InvalidSignature'])
  const upload = await get('a.txt', sign({ url: `${bucket}/a.txt`, scope: 'upload' }))
  assert.equal(upload.error, 'InvalidSignature')
  const garbled = await get('a.txt', 'nonsense')
  assert.equal(garbled.error, 'InvalidJWT')
})

test('uploadToSignedUrl by raw body, once', async () => {
  const bucket = await makeBucket()
  const files = service.storage.from(bucket)
  const { signedUrl, token, path } = ok(await files.createSignedUploadUrl('in/a.txt'))
  assert.equal(path, 'in/a.txt')
  assert.equal(signedUrl, `${storageUrl}/object/upload/sign/${bucket}/in/a.txt?token=${token}`)
  const claims = claimsOf(token)
  assert.deepEqual([claims.url, claims.upsert, claims.exp - claims.iat], [`${bucket}/in/a.txt`, false, 7200])
  const stored = ok(await files.uploadToSignedUrl(path, token, 'bytes', { contentType: 'text/plain', metadata: { k: 1 } }))
  assert.equal(stored.fullPath, `${bucket}/in/a.txt`)
  assert.deepEqual(ok(await files.info(path)).metadata, { k: 1 })
  const error = refused(await files.uploadToSignedUrl(path, token, 'again'), 409)
  assert.equal(error.status, 400)
  assert.equal(await ok(await files.download(path)).text(), 'bytes')
})

test('uploadToSignedUrl by multipart', async () => {
  const files = service.storage.from(await makeBucket())
  const { token, path } = ok(await files.createSignedUploadUrl('a.png'))
  const blob = new Blob(['picture'], { type: 'image/png' })
  ok(await files.uploadToSignedUrl(path, token, blob, { metadata: { k: 2 } }))
  const info = ok(await files.info(path))
  assert.deepEqual([info.contentType, info.size, info.metadata], ['image/png', 7, { k: 2 }])
  refused(await files.uploadToSignedUrl(path, token, blob), 409)
})

test('a signed upload with upsert may replace', async () => {
  const files = service.storage.from(await makeBucket())
  ok(await files.upload('a.txt', 'one'))
  refused(await files.createSignedUploadUrl('a.txt'), 409)
  const { token, path } = ok(await files.createSignedUploadUrl('a.txt', { upsert: true }))
  ok(await files.uploadToSignedUrl(path, token, 'two'))
  ok(await files.uploadToSignedUrl(path, token, 'three'))
  assert.equal(await ok(await files.download(path)).text(), 'three')
})

test('a signed upload refuses expired, tampered and foreign tokens', async () => {
  const bucket = await makeBucket()
  const files = service.storage.from(bucket)
  const url = `${bucket}/a.txt`
  const put = async (token, path = 'a.txt') => await files.uploadToSignedUrl(path, token, 'x')
  const expired = refused(await put(sign({ url, upsert: false, exp: 1 })), 400, 'InvalidJWT')
  assert.equal(expired.message, '"exp" claim timestamp check failed')
  const { token } = ok(await files.createSignedUploadUrl('a.txt'))
  const [head, , signature] = token.split('.')
  const forged = `${head}.${encode({ ...claimsOf(token), upsert: true })}.${signature}`
  assert.equal(refused(await put(forged), 400, 'InvalidJWT').message, 'signature verification failed')
  refused(await put('nonsense'), 400, 'InvalidJWT')
  refused(await put(token, 'b.txt'), 400, 'InvalidSignature')
  refused(await put(sign({ url, scope: 'download' })), 400, 'InvalidSignature')
  assert.deepEqual(ok(await files.list()), [])
})

test('a signed upload keeps to the limits of the bucket', async () => {
  const bucket = await makeBucket({ public: false, fileSizeLimit: 10, allowedMimeTypes: ['image/*'] })
  const files = service.storage.from(bucket)
  const { token, path } = ok(await files.createSignedUploadUrl('a.png'))
  refused(await files.uploadToSignedUrl(path, token, 'x'.repeat(11), { contentType: 'image/png' }), 413)
  refused(await files.uploadToSignedUrl(path, token, 'x', { contentType: 'text/plain' }), 415)
  refused(await files.uploadToSignedUrl(path, token, new Blob(['x'.repeat(11)], { type: 'image/png' })), 413)
  ok(await files.uploadToSignedUrl(path, token, 'x'.repeat(10), { contentType: 'image/png' }))
})

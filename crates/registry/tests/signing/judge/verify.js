// Verifies a bundle with a public key as sigstore's own library does it, without a transparency
// log: node verify.js KEY.PEM BUNDLE DIGITS. The status is 0 where the bundle holds, names that
// key and says that the image with that digest is signed.
const fs = require("node:fs");
const crypto = require("node:crypto");
const { bundleFromJSON } = require("@sigstore/bundle");
const { Verifier, toSignedEntity, toTrustMaterial } = require("@sigstore/verify");

const [key, file, digits] = process.argv.slice(2);
const bundle = bundleFromJSON(JSON.parse(fs.readFileSync(file, "utf8")));
const publicKey = crypto.createPublicKey(fs.readFileSync(key, "utf8"));
const nobody = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
const material = toTrustMaterial(nobody, () => ({ publicKey, validFor: () => true }));
const none = { tlogThreshold: 0, ctlogThreshold: 0, tsaThreshold: 0 };
new Verifier(material, none).verify(toSignedEntity(bundle));
const spki = publicKey.export({ type: "spki", format: "der" });
const hint = crypto.createHash("sha256").update(spki).digest("base64");
if (bundle.verificationMaterial.content.publicKey.hint !== hint) throw new Error("another hint");
const statement = JSON.parse(bundle.content.dsseEnvelope.payload.toString());
if (statement.predicateType !== "https://sigstore.dev/cosign/sign/v1") throw new Error("predicate");
if (statement.subject[0].digest.sha256 !== digits) throw new Error("another digest");

"""Words of pages: what they mean to a person, and the names of controls, in the languages that IBKR serves."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Literal

_NO_LETTERS = re.compile(r"[\W\d_]+")
_WAITING = re.compile(
    r"\b(please wait|one moment|loading|processing|verifying|authenticating|connecting|redirect(ing|ed)|signing in"
    r"|logging (you )?in|hold on|bitte warten|einen moment|veuillez patienter|espere|attendere)\b",
    re.IGNORECASE,
)
_APPROVAL = re.compile(
    r"(notification|push)\b.{0,40}\b(sent|device|phone)|approve\b.{0,60}\b(device|phone|app|notification)"
    r"|(check|open|look at) your (phone|mobile|device)",
    re.IGNORECASE | re.DOTALL,
)
_OFFERED = re.compile(r"\b(faster|enable|set up|turn on|activate)\b", re.IGNORECASE)
_PASSKEY = re.compile(r"\bpass ?keys?\b|\bwebauthn\b", re.IGNORECASE)
_UNSENT = re.compile(
    r"\b(code|sms|text message)\b.{0,40}\b(not (yet )?(been )?sent|not be sent|not be delivered)"
    r"|\bno (code|sms|text message) (was|has been) sent|\b(unable|failed) to send\b",
    re.IGNORECASE | re.DOTALL,
)
_KINDS = (
    ("email", re.compile(r"\be-?mail", re.IGNORECASE)),
    ("sms", re.compile(r"\bsms\b|text message|mobile (number|phone)", re.IGNORECASE)),
    ("card", re.compile(r"security card", re.IGNORECASE)),
    ("temporary", re.compile(r"temporary", re.IGNORECASE)),
)


def letters(line: str) -> str:
    """Return a line's letters only: they stay the same while a clock in it runs."""
    return _NO_LETTERS.sub(" ", line).strip().casefold()


def new_words(words: str, before: str) -> str:
    """Return the lines of ``words`` that are not in ``before``, as one line."""
    known = {letters(line) for line in before.splitlines()} | {""}
    return " ".join(line for line in words.splitlines() if letters(line) not in known)


def ask_to_wait(words: str) -> bool:
    """Say whether the words ask for patience: then the page is not done."""
    return _WAITING.search(words) is not None


def ask_for_approval(words: str) -> bool:
    """Say whether the words ask a person to approve the login on their device."""
    return _APPROVAL.search(words) is not None and _OFFERED.search(words) is None


def ask_for_passkey(words: str) -> bool:
    """Say whether the words ask for a passkey."""
    return _PASSKEY.search(words) is not None


def tell_of_no_code(words: str) -> bool:
    """Say whether the words say that no code was sent."""
    return _UNSENT.search(words) is not None


def kind_of_code(words: str) -> str | None:
    """Return the kind of code that a page asks for, if only its words show it; None if they do not."""
    return next((kind for kind, pattern in _KINDS if pattern.search(words)), None)


PAPER = (
    "paper. papertrading simula simulov simuler simuliert simulad simulac simulaz simule. gesimuleerd demo "
    "demo-konto demonstra practice papierhandel papier. papier- ubungs muster fictif fictici cartace papel. "
    "papelhandel oefen papir papperse papper. paperi. szimul gyakorlo symul papierow cvicn kagit hartie "
    "simulere simulering simuloi gia-lap mo-phong демо симул бумажн учебн имитац виртуальн εικονικ προσομοι "
    "δοκιμαστικ ペーパー デモ シミュレ 模擬 仮想 模拟 演示 仿真 虚拟 虛擬 紙上 纸上 모의 데모 페이퍼 시뮬 "
    "דמו נייר סימולצ הדמיה תרגול מדומה تجريب محاكا ورقي افتراض จำลอง เดโม"
)
LIVE = (
    "live. real. reale. reell reel. reales. echt. echtgeld echthandel echtkonto echte. en-direct en-vivo "
    "ao-vivo dal-vivo na-zywo na-zivo reeel production eles. valodi elo. rzeczywist realn. realny zive. "
    "ostry. skutecn gercek canli. skarp. oikea. live-handel that. реальн боев действительн πραγματικ ζωνταν "
    "ライブ 本番 実取引 リアル 真实 真實 实盘 實盤 实时 實時 正式 실전 실제 라이브 חי. אמיתי לייב حقيق مباشر "
    "فعلي จริง"
)
NO_MODE = (
    "paperless statement chat time-quotes zeit support hilfe aide help stream news video watch newsletter "
    "real-time tour"
)
"""Words that turn one of the words above into something other than a kind of account."""

NO_KIND = (
    "remember keep-me stay-signed stay-logged save-user save-my trust. trusted this-device this-computer "
    "private-computer public-computer private-device public-device shared show-pass hide-pass reveal caps-lock "
    "language sprache langue idioma lingua taal jezyk язык 言語 语言 語言 dark light-mode theme night contrast "
    "large-text accessib agree accept. terms consent conditions privacy cookie newsletter subscribe notif sound "
    "keyboard biometric fingerprint face-id touch-id merken angemeldet-bleiben eingeloggt-bleiben speicher "
    "erinner dunkel se-souvenir souvenir rappeler rester-connect memoriser afficher ricorda resta-connesso mostra "
    "recuerd recordar mantener permanecer guardar mostrar lembrar manter memorizar onthoud ingelogd-blijven "
    "zapamietaj pamietaj zapamatovat zapamatuj megjegy emlekez beni-hatirla hatirla kom-ihag husk. muista "
    "ghi-nho nho-mat tine-ma запомн оставаться показать θυμ ログイン状態 記憶 保存 保持 表示 记住 記住 显示 "
    "顯示 기억 로그인-상태 זכור تذكر จดจำ "
    "english deutsch francais espanol italiano portugues nederlands polski magyar cestina turkce svenska "
    "norsk dansk suomi русский ελληνικα 日本語 中文 简体 繁體 한국어 עברית العربية"
)
"""Names of a switch near the form that is not the choice of the kind of account."""
WAYS_IN = "phone telefon mobile. mobil handy movil celular cellulare username id. ssid 手机 手機 電話 телефон"
"""Names of tabs above the form that choose what to log in with."""

USER = (
    "user login-id userid username benutzer anwender nutzer identifiant utilisateur nom-d-utilisateur utente "
    "nome-utente usuario utilizador nome-de-utilizador gebruiker gebruikersnaam login. loginname felhasznalo "
    "uzytkownik uzivatel kullanici anvandar bruker kayttaja utilizator kasutaja ten-dang-nhap "
    "имя-пользователя пользовател логин όνομα-χρήστη χρηστη ユーザー 用户 用戶 使用者 账号 帳號 帐号 账户名 "
    "사용자 아이디 שם-משתמש משתמש اسم-المستخدم المستخدم ชื่อผู้ใช้"
)
MASKED = (
    "password passwort passwd kennwort mot-de-passe contrasena senha palavra-passe wachtwoord jelszo haslo "
    "heslo sifre losenord passord adgangskode salasana parola mat-khau пароль κωδικος-προσβασης パスワード "
    "密码 密碼 비밀번호 סיסמ سر. المرور كلمة รหัสผ่าน"
)
"""Names of the field for the password."""
LOG_IN = (
    "log-in login. logon log-on sign-in signin anmelden anmeldung einloggen connexion connecter se-connecter "
    "s-identifier accedi accesso entra. iniciar-sesion acceder ingresar entrar iniciar-sessao aceder "
    "inloggen aanmelden bejelentkez belepes zaloguj logowanie prihlasit giris oturum-ac logga-in logg-inn "
    "log-ind kirjaudu conectare autentificare dang-nhap simulated-login войти вход авториз συνδεση εισοδος "
    "ログイン サインイン 登录 登錄 登入 로그인 התחבר כניסה تسجيل-الدخول دخول เข้าสู่ระบบ"
)
NEXT = (
    "next continue weiter fortfahren suivant continuer avanti continua siguiente continuar seguinte avancar "
    "volgende doorgaan verder tovabb dalej dalsi pokracovat ileri devam nasta fortsatt naeste seuraava "
    "submit verify confirm bestatig absenden senden prufen valider verifier confirmer envoyer conferma "
    "verifica invia confirmar verificar enviar bevestig verzend megerosit potwierdz далее продолжить "
    "подтверд отправ επομενο συνεχεια 次へ 続ける 確認 送信 下一步 继续 繼續 确认 提交 다음 계속 확인 제출 "
    "הבא המשך אישור שלח التالي متابعة تأكيد إرسال ถัดไป ยืนยัน"
)
OTHER_WAY = (
    "forgot forget vergessen oublie dimentic olvid esquec vergeten elfelejt zapomn unut register registr "
    "sign-up signup create erstellen creer crea. crear criar open-account konto-eroffnen cancel abbrech "
    "annuler annulla cancelar annuleren megse anuluj zrusit iptal back. zuruck retour. clear reset show. "
    "hide. anzeigen afficher passkey fingerprint google apple facebook microsoft qr help hilfe aide. ayuda "
    "aiuto cookie accept. akzept search suche subscribe newsletter language sprache resend erneut renvoyer "
    "reenvi забыл зарегистр отмена показать 忘记 忘記 注册 註冊 取消 搜索 搜尋 キャンセル 登録 お忘れ 検索 "
    "표시 취소 회원가입 שכחת ביטול الغاء نسيت"
)
"""Names of buttons that do not send the form."""
DECOY = (
    "search suche recherch ricerca cerca. buscar busca. zoek keres szukaj hledat arama find newsletter "
    "subscribe abonn iscri suscri coupon promo website url. homepage honeypot leave-blank "
    "leave-this-empty do-not-fill поиск 搜索 搜尋 検索 검색 חיפוש بحث"
)
CODE = (
    "code. codes. otp totp token passcode one-time security-code verification 2fa mfa two-factor pin. tan. "
    "challenge-response response. sicherheitscode bestatigungscode einmalcode code-de-securite codice codigo "
    "beveiligingscode verificatiecode kod. kodu. biztonsagi код. кода. κωδικος 認証コード セキュリティコード "
    "コード 验证码 驗證碼 安全码 安全碼 代码 代碼 인증번호 보안-코드 코드 קוד رمز. الرمز رمز- รหัส."
)
SMS_WORDS = (
    "sms text-message textnachricht texto. mensaje-de-texto messaggio-di-testo mensagem-de-texto смс "
    "ショートメッセージ 短信 簡訊 문자"
)
EMAIL = "email e-mail courriel correo posta-elettronica электронн メール 邮件 邮箱 郵件 電郵 이메일 דוא البريد"
CARD = "security-card code-card sicherheitskarte carte-de-securite tarjeta-de-seguridad"
CAPTCHA = "captcha picture image. characters bild. zeichen caracteres caratteri verification-text 验证图 图片"
APP = "authenticator totp google-authenticator app-auth"
CHALLENGE = "challenge herausforderung defi. sfida desafio"
DEVICES = (
    "sms text-message ib-key ibkr-mobile mobile-authenticator authenticator voice phone-call telephone-call "
    "call-me sprachanruf email e-mail security-card security-device digital-security passkey "
    "push-notification notification benachrichtigung totp textnachricht 短信 簡訊 语音 邮件 смс メール"
)

CHOOSE = (
    "select choose pick. auswahl wahlen choisi selection selezion scegli seleccion elija elegir selecion "
    "escolha kies valassz wybierz vyberte secin выбер 選択 选择 選擇 선택 בחר اختر"
)


@functools.cache
def _pattern(words: str) -> re.Pattern[str]:
    ways = []
    for word in words.split():
        plain = _plain(word.rstrip("."))
        begins = "" if ord(plain[0]) >= 0x1100 or 0x0E00 <= ord(plain[0]) < 0x0E80 else r"(?<![^\W_])"
        ends = r"(?![^\W_])" if word.endswith(".") else ""
        ways.append(begins + r"[\s_-]*".join(map(re.escape, plain.split("-"))) + ends)
    return re.compile("|".join(ways))


def _plain(text: str) -> str:
    """Return ``text`` in lower case and without accents."""
    split = unicodedata.normalize("NFKD", text)
    return "".join(one for one in split if not unicodedata.combining(one)).casefold()


def says(text: str, words: str) -> bool:
    """Say whether ``text`` contains one of ``words``."""
    # An identifier joins its words: loginUsername.
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return _pattern(words).search(_plain(apart)) is not None


def mode_of(name: str) -> Literal["paper", "live", "both"] | None:
    """Return the kind of account that a name stands for; None for neither."""
    if says(name, NO_MODE):
        return None
    paper, live = says(name, PAPER), says(name, LIVE)
    return ("both" if live else "paper") if paper else ("live" if live else None)
